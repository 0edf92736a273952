// SPDX-License-Identifier: Apache-2.0
#include "io/xsk/chunk_pool.hpp"

#include <algorithm>
#include <utility>

#include "io/xsk/umem.hpp"

namespace twinstep::io {
namespace {

constexpr std::uint64_t chunk_of(std::uint64_t address) {
  return address & ~std::uint64_t{Umem::kChunkBytes - 1};
}

}  // namespace

ChunkPool::ChunkPool(Umem& umem, std::uint32_t first_chunk, std::uint32_t chunks)
    : umem_(umem), first_(std::uint64_t{first_chunk} * Umem::kChunkBytes), chunks_(chunks), lent_(chunks) {
  free_.reserve(chunks);
  reclaim();
}

std::optional<std::uint64_t> ChunkPool::take() {
  if (free_.empty()) collect();
  if (free_.empty()) return std::nullopt;
  const std::uint64_t address = free_.back();
  free_.pop_back();
  return address;
}

void ChunkPool::give(std::uint64_t address) {
  do {
    const std::uint64_t next = umem_.fragments() ? std::exchange(umem_.part(address).next, 0) : 0;
    give_chunk(address);
    address = next;
  } while (address != 0);
}

void ChunkPool::give_chunk(std::uint64_t address) {
  if (!contains(address)) return umem_.pool_of(address).give_from_afar(address);
  free_.push_back(chunk_of(address));
}

void ChunkPool::give_from_afar(std::uint64_t address) {
  const std::lock_guard lock(mutex_);
  returned_.push_back(chunk_of(address));
  returned_count_.store(returned_.size(), std::memory_order_relaxed);
}

std::size_t ChunkPool::free_chunks() const {
  return free_.size() + returned_count_.load(std::memory_order_relaxed);
}

bool ChunkPool::contains(std::uint64_t address) const {
  return address >= first_ && address - first_ < std::uint64_t{chunks_} * Umem::kChunkBytes;
}

std::size_t ChunkPool::index(std::uint64_t address) const {
  return (address - first_) / Umem::kChunkBytes;
}

std::span<std::byte> ChunkPool::bytes(std::uint64_t address, std::size_t length) const {
  return umem_.bytes(address, length);
}

void ChunkPool::lend(std::uint64_t address, std::uint8_t queue) {
  lent_.at(index(address)).store(queue, std::memory_order_relaxed);
}

void ChunkPool::take_back(std::uint64_t address) {
  lent_.at(index(address)).store(0, std::memory_order_relaxed);
  free_.push_back(chunk_of(address));
}

void ChunkPool::take_back_from_afar(std::uint64_t address) {
  const std::lock_guard lock(mutex_);
  lent_.at(index(address)).store(0, std::memory_order_relaxed);
  returned_.push_back(chunk_of(address));
  returned_count_.store(returned_.size(), std::memory_order_relaxed);
}

bool ChunkPool::lends_to(std::uint8_t queue) const {
  return std::ranges::any_of(lent_, [queue](const auto& to) { return to.load(std::memory_order_relaxed) == queue; });
}

void ChunkPool::forget(std::uint8_t queue) {
  for (std::uint32_t i = 0; i < chunks_; ++i)
    if (lent_[i].load(std::memory_order_relaxed) == queue)
      take_back_from_afar(first_ + std::uint64_t{i} * Umem::kChunkBytes);
}

void ChunkPool::reclaim() {
  const std::lock_guard lock(mutex_);
  returned_.clear();
  returned_count_ = 0;
  free_.clear();
  for (std::uint32_t i = chunks_; i > 0; --i)
    if (lent_[i - 1].load(std::memory_order_relaxed) == 0)
      free_.push_back(first_ + std::uint64_t{i - 1} * Umem::kChunkBytes);
}

void ChunkPool::collect() {
  if (returned_count_.load(std::memory_order_relaxed) == 0) return;
  const std::lock_guard lock(mutex_);
  free_.insert(free_.end(), returned_.begin(), returned_.end());
  returned_.clear();
  returned_count_ = 0;
}

}  // namespace twinstep::io
