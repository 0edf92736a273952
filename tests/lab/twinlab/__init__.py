# SPDX-License-Identifier: Apache-2.0
"""The lab: two hosts, a switch and a client as network namespaces of one machine, and what is done to them."""
