// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/mman.h>

#include <cstdint>

#include "memory/page_bitmap.hpp"

namespace twinstep::qemu {

/// A page of shared memory, as guest RAM is, on which a probe tries the kernel out.
class ScratchPage {
 public:
  ScratchPage()
      : address_(::mmap(nullptr, memory::kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE,
                        -1, 0)) {}
  ~ScratchPage() {
    if (valid()) ::munmap(address_, memory::kPageBytes);
  }
  ScratchPage(const ScratchPage&) = delete;
  ScratchPage& operator=(const ScratchPage&) = delete;

  bool valid() const { return address_ != MAP_FAILED; }
  std::uint64_t number() const { return reinterpret_cast<std::uintptr_t>(address_); }
  void write() { *static_cast<volatile char*>(address_) = 1; }

 private:
  void* address_;
};

}  // namespace twinstep::qemu
