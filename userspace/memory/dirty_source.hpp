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

  /// Starts the watch: what is written after it returns is reported, what was written before it began is not.
  virtual Result<void> arm() = 0;
  /// Adds the pages written since arm() or the last scan() to `out`, and watches them anew. While the VM is stopped no
  /// write is lost; while it runs, only if scans_live().
  virtual Result<void> scan(PageBitmap& out) = 0;
  /// Adds the same pages but doesn't watch them anew: the next call reports them again. The VM may run.
  virtual Result<void> peek(PageBitmap& out) = 0;
  /// Whether scan() may be used while the VM runs.
  virtual bool scans_live() const = 0;
};

}  // namespace twinstep::memory
