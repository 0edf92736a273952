// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/result.hpp"
#include "memory/page_bitmap.hpp"

namespace twinstep::memory {

/// Tells which pages of one VM's RAM the VM has written: its vCPUs and its devices. Writes of this process through its
/// own mapping of the same RAM don't count.
class DirtySource {
 public:
  DirtySource() = default;
  virtual ~DirtySource() = default;
  DirtySource(const DirtySource&) = delete;
  DirtySource& operator=(const DirtySource&) = delete;

  /// Starts the watch: what is written from now on is reported, what was written before is not.
  virtual Result<void> arm() = 0;
  /// Adds the pages written since arm() or the last scan() to `out`, and watches them anew, as one step: no write is
  /// lost.
  virtual Result<void> scan(PageBitmap& out) = 0;
};

}  // namespace twinstep::memory
