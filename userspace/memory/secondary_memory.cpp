// SPDX-License-Identifier: Apache-2.0
#include "memory/secondary_memory.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "memory/page_checksums.hpp"

namespace twinstep::memory {
namespace {

/// More than a load writes: KVM's wall clock is one page.
constexpr std::size_t kLoadPagesMax = 256;

}  // namespace

SecondaryMemory::SecondaryMemory(std::span<std::byte> ram, DirtySource& source, PresentPages present, PageHashKey key,
                                 std::unique_ptr<PageBitmap> absent, Image image)
    : ram_(ram),
      source_(&source),
      present_(std::move(present)),
      key_(key),
      absent_(std::move(absent)),
      image_(std::make_unique<Image>(std::move(image))),
      dirty_(ram.size() / kPageBytes) {}

Result<SecondaryMemory> SecondaryMemory::create(std::span<std::byte> ram, DirtySource& source, PresentPages present,
                                                std::size_t epoch_bytes_max, PageHashKey key) {
  auto absent = std::make_unique<PageBitmap>(ram.size() / kPageBytes);
  return Image::create(epoch_bytes_max).map([&](Image image) {
    return SecondaryMemory(ram, source, std::move(present), key, std::move(absent), std::move(image));
  });
}

Result<void> SecondaryMemory::start() {
  dirty_.clear();
  const auto present = present_();
  if (!present) return tl::unexpected(present.error());
  absent_->set_all();
  *absent_ -= *present;
  return source_->arm();
}

Result<SvmPages> SecondaryMemory::scan_dirty() {
  if (auto scanned = source_->scan(dirty_); !scanned) return tl::unexpected(scanned.error());
  *absent_ -= dirty_;
  SvmPages pages{dirty_, {}};
  pages.hashes.reserve(std::min(dirty_.count(), kPageHashesMax));
  dirty_.for_each([&](PageNumber number) {
    if (pages.hashes.size() == kPageHashesMax) return;
    pages.hashes.push_back(hash_page(ram_.subspan(std::size_t{number} * kPageBytes, kPageBytes), key_));
  });
  return pages;
}

Result<void> SecondaryMemory::receive_from(std::span<const int> sockets) {
  return ImageReceiver::create(ram_, *absent_, sockets).map([this](ImageReceiver receiver) {
    receiver_.emplace(std::move(receiver));
  });
}

Result<Received> SecondaryMemory::receive(std::chrono::milliseconds first_timeout,
                                          std::chrono::milliseconds stall_timeout) {
  if (!receiver_) throw std::logic_error("a memory image was to be received from nowhere");
  return receiver_->receive(*image_, first_timeout, stall_timeout);
}

Result<void> SecondaryMemory::apply() {
  auto applied = image_->apply(ram_, *absent_);
  if (!applied) return applied;
  dirty_.clear();
  save_load_pages();
  return {};
}

void SecondaryMemory::save_load_pages() {
  for (auto& [number, content] : load_pages_) {
    const auto page = ram_.subspan(std::size_t{number} * kPageBytes, kPageBytes);
    content.assign(page.begin(), page.end());
  }
}

// The pages stay the source's, so the next scan reports them and the primary is told their hashes. Returns those that
// can't be put right before the next checkpoint: what they were is not known the first time that a load writes them.
Result<PageBitmap> SecondaryMemory::undo_load() {
  PageBitmap written(dirty_.pages());
  if (auto seen = source_->peek(written); !seen) return tl::unexpected(seen.error());
  PageBitmap unknown(dirty_.pages());
  written.for_each([&](PageNumber number) {
    const auto known = load_pages_.find(number);
    if (known != load_pages_.end() && !known->second.empty()) {
      std::memcpy(ram_.data() + std::size_t{number} * kPageBytes, known->second.data(), kPageBytes);
      return;
    }
    unknown.set(number);
    if (load_pages_.size() < kLoadPagesMax) load_pages_.emplace(number, std::vector<std::byte>());
  });
  return unknown;
}

Result<bool> SecondaryMemory::finish() {
  const auto unknown = undo_load();
  if (!unknown) return tl::unexpected(unknown.error());
  const bool compare = !image_->page_checksums().empty();
  if (compare) {
    const auto present = present_();
    if (!present) return tl::unexpected(present.error());
    if (auto equal = compare_pages(ram_, *present, image_->page_checksums(), *unknown); !equal)
      return tl::unexpected(equal.error());
  }
  image_->clear();
  return compare;
}

}  // namespace twinstep::memory
