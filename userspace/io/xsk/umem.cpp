// SPDX-License-Identifier: Apache-2.0
#include "io/xsk/umem.hpp"

#include <sys/mman.h>

#include "io/os_error.hpp"

namespace twinstep::io {

Result<std::unique_ptr<Umem>> Umem::create(std::uint32_t chunks) {
  if (chunks < kRingEntries) return fail("AF_XDP needs at least " + std::to_string(kRingEntries) + " chunks of memory");
  std::unique_ptr<Umem> self(new Umem(chunks));
  const std::size_t size = std::size_t{chunks} * kChunkBytes;
  void* area = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (area == MAP_FAILED) return fail_os("cannot map " + std::to_string(size >> 20) + " MiB of packet memory");
  self->area_ = static_cast<std::byte*>(area);
  const xsk_umem_config config{
      .fill_size = kRingEntries, .comp_size = kRingEntries, .frame_size = kChunkBytes, .frame_headroom = 0, .flags = 0};
  const int error = xsk_umem__create(&self->umem_, area, size, &self->fill_, &self->completion_, &config);
  if (error != 0)
    return fail_os("cannot register packet memory with AF_XDP (needs CAP_NET_RAW and locked memory)", -error);
  self->free_.reserve(chunks);
  for (std::uint32_t chunk = chunks; chunk > 0; --chunk) self->give(std::uint64_t{chunk - 1} * kChunkBytes);
  return self;
}

Umem::~Umem() {
  if (umem_ != nullptr) xsk_umem__delete(umem_);
  if (area_ != nullptr) ::munmap(area_, std::size_t{chunks_} * kChunkBytes);
}

std::optional<std::uint64_t> Umem::take() {
  if (free_.empty()) return std::nullopt;
  const std::uint64_t address = free_.back();
  free_.pop_back();
  return address;
}

}  // namespace twinstep::io
