// SPDX-License-Identifier: Apache-2.0
#include "memory/mapping.hpp"

#include <sys/mman.h>

#include <string>

#include "memory/os_error.hpp"

namespace twinstep::memory {
namespace {

Result<std::span<std::byte>> map(std::size_t bytes, int flags, int fd) {
  void* const address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (address == MAP_FAILED) return fail_errno("cannot map " + std::to_string(bytes) + " bytes of memory");
  return std::span(static_cast<std::byte*>(address), bytes);
}

}  // namespace

Result<Mapping> Mapping::anonymous(std::size_t bytes) {
  auto mapped = map(bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
  if (!mapped) return tl::unexpected(mapped.error());
  // Advice only: a kernel without transparent huge pages does as well, with more page faults.
  static_cast<void>(::madvise(mapped->data(), mapped->size(), MADV_HUGEPAGE));
  return Mapping(*mapped);
}

Result<Mapping> Mapping::shared(int fd, std::size_t bytes) {
  auto mapped = map(bytes, MAP_SHARED, fd);
  if (!mapped) return tl::unexpected(mapped.error());
  return Mapping(*mapped);
}

Mapping::~Mapping() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace twinstep::memory
