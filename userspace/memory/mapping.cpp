// SPDX-License-Identifier: Apache-2.0
#include "memory/mapping.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <string>

#include "memory/os_error.hpp"

namespace twinstep::memory {
namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

Result<std::span<std::byte>> map(void* at, std::size_t bytes, int flags, int fd) {
  void* const address = ::mmap(at, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (address == MAP_FAILED) return fail_errno("cannot map " + std::to_string(bytes) + " bytes of memory");
  return std::span(static_cast<std::byte*>(address), bytes);
}

}  // namespace

Result<Mapping> Mapping::anonymous(std::size_t bytes) {
  auto mapped = map(nullptr, bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
  if (!mapped) return tl::unexpected(mapped.error());
  // Advice only: a kernel without transparent huge pages does as well, with more page faults.
  static_cast<void>(::madvise(mapped->data(), mapped->size(), MADV_HUGEPAGE));
  return Mapping(*mapped);
}

Result<Mapping> Mapping::shared(std::span<const Piece> pieces) {
  std::size_t bytes = 0;
  for (const Piece& piece : pieces) bytes += piece.bytes;
  // Room for all, aligned for huge pages, whose files can't be mapped elsewhere.
  auto room = map(nullptr, bytes + kHugePageBytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
  if (!room) return tl::unexpected(room.error());
  const std::size_t before = -reinterpret_cast<std::uintptr_t>(room->data()) % kHugePageBytes;
  if (before > 0) ::munmap(room->data(), before);
  ::munmap(room->data() + before + bytes, kHugePageBytes - before);
  Mapping mapping(room->subspan(before, bytes));
  std::byte* at = mapping.bytes_.data();
  for (const Piece& piece : pieces) {
    if (auto mapped = map(at, piece.bytes, MAP_SHARED | MAP_FIXED, piece.fd); !mapped)
      return tl::unexpected(mapped.error());
    at += piece.bytes;
  }
  return mapping;
}

Mapping::~Mapping() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

void Mapping::give_back(std::size_t offset, std::size_t bytes) {
  const auto part = bytes_.subspan(offset, bytes);
  // Advice only; without it the memory stays in use.
  static_cast<void>(::madvise(part.data(), part.size(), MADV_DONTNEED));
}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace twinstep::memory
