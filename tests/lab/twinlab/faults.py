# SPDX-License-Identifier: Apache-2.0
"""What happens to host a."""


def lose_host(lab, host):
    """Power failure. Its processes are stopped first, so that they can neither say goodbye nor see their links go."""
    fault_ns = lab.client_now_ns()
    host.freeze_all()
    lab.network.host_loses_power(host.name)
    host.kill_all()
    return fault_ns


def crash_qemu(lab, host):
    """The VM's QEMU dies; everything else of the host lives on."""
    fault_ns = lab.client_now_ns()
    host.kill_qemu()
    return fault_ns
