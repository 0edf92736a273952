// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace twinstep::io {

/// Whether a program that runs natively on a tap can put metadata in front of a frame, as the tap program does: Linux
/// 6.15 and newer. The first call tries it, on a tap of its own in the calling thread's network namespace. Any thread.
bool taps_have_metadata();

}  // namespace twinstep::io
