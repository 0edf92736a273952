// SPDX-License-Identifier: Apache-2.0
#include "memory/primary_memory.hpp"

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "memory/ram_feed.hpp"
#include "memory/staged_feed.hpp"

namespace twinstep::memory {
namespace {

/// So many pages are copied within a pause without a thought: some tenths of a millisecond.
constexpr std::size_t kPausePages = 1024;
/// An epoch's set is full when only one of so many parts of the bound is left; that part is for pages sent ahead.
constexpr std::size_t kFullParts = 4;
/// Rounds before a pause at most: each finds what was written during the one before.
constexpr int kPrestageRoundsMax = 5;

Nanos since(std::chrono::steady_clock::time_point start) {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

PrimaryMemory::PrimaryMemory(std::span<const std::byte> ram, DirtySource& source, PageHashKey key, StagedPages staged)
    : ram_(ram),
      source_(&source),
      key_(key),
      staged_(std::move(staged)),
      pending_(ram.size() / kPageBytes),
      unstaged_(pending_.pages()),
      ahead_(pending_.pages()),
      differed_(pending_.pages()),
      absent_(pending_.pages()),
      found_(pending_.pages()) {}

Result<PrimaryMemory> PrimaryMemory::create(std::span<const std::byte> ram, DirtySource& source,
                                            std::size_t epoch_bytes_max, PageHashKey key) {
  return StagedPages::create(epoch_bytes_max, ram.size() / kPageBytes).map([&](StagedPages staged) {
    return PrimaryMemory(ram, source, key, std::move(staged));
  });
}

Result<void> PrimaryMemory::start() {
  pending_.set_all();
  unstaged_ = pending_;
  absent_.clear();
  ahead_.clear();
  differed_.clear();
  sent_ahead_ = {};
  staged_.clear();
  looked_pages_ = 0;
  beyond_bound_ = false;
  return source_->arm();
}

void PrimaryMemory::set_present(const PageBitmap& present) {
  absent_.set_all();
  absent_ -= present;
}

ImageHeader PrimaryMemory::header_of(ImageKind kind, std::uint64_t generation) const {
  ImageHeader header;
  header.kind = kind;
  header.generation = generation;
  header.ram_bytes = ram_.size();
  return header;
}

Result<LiveRound> PrimaryMemory::live_round(ImageSender& sender, std::uint64_t generation,
                                            const ImageSender::OnSent& on_sent) {
  const bool live = source_->scans_live();
  // What is found here needn't be sent twice: it is copied after this scan.
  if (live) {
    if (auto scanned = scan(); !scanned) return tl::unexpected(scanned.error());
  }
  RamFeed feed(ram_, pending_, absent_);
  const auto sent = sender.send(header_of(ImageKind::live_round, generation), feed, {}, on_sent);
  if (!sent) return tl::unexpected(sent.error());
  pending_.clear();
  unstaged_.clear();
  absent_.clear();
  LiveRound round{sent->pages, 0, sent->bytes, live};
  found_.clear();
  // A look is enough to tell what is left; the pages stay the source's until the VM is stopped.
  if (auto seen = source_->peek(found_); !seen) return tl::unexpected(seen.error());
  round.pages_left = found_.count();
  return round;
}

// Takes note of what the VM wrote since the last time, and returns how many pages that is.
Result<std::size_t> PrimaryMemory::scan() {
  found_.clear();
  if (auto scanned = source_->scan(found_); !scanned) return tl::unexpected(scanned.error());
  pending_ |= found_;
  unstaged_ |= found_;
  absent_ -= found_;
  return found_.count();
}

// Copies what was written since it was copied last, and what only the SVM wrote. When not all of it has room, only what
// the SVM doesn't have: that needs a look at each page.
Result<std::size_t> PrimaryMemory::copy_unstaged(const SvmPages& svm) {
  found_ = svm.dirty;
  found_ -= ahead_;
  found_ |= unstaged_;
  std::optional<SvmHashes> hashes;
  if (staged_.size() + found_.count() > room()) hashes.emplace(svm, key_);
  std::size_t copied = 0;
  Result<void> step;
  found_.for_each([&](PageNumber number) {
    if (!step || (!unstaged_.test(number) && staged_.holds(number))) return;
    step = copy(number, hashes ? &*hashes : nullptr);
    ++copied;
  });
  if (!step) return tl::unexpected(step.error());
  unstaged_.clear();
  return copied;
}

// `svm`: nothing if there is room for all pages. An older copy, here or sent ahead, is always replaced.
Result<void> PrimaryMemory::copy(PageNumber number, const SvmHashes* svm) {
  const bool is_new = !staged_.holds(number);
  if (is_new && svm != nullptr) {
    const auto page = ram_.subspan(std::size_t{number} * kPageBytes, kPageBytes);
    if (!ahead_.test(number) && svm->has(number, page)) return {};
    if (staged_.size() >= room()) {
      beyond_bound_ = true;
      return fail("the checkpoint is beyond epoch_bytes_max: the VMs differ in more than " + std::to_string(room()) +
                  " pages; raise it, or lower timing.epoch_ms_max");
    }
  }
  return staged_.copy(ram_, number);
}

// `pages`: that the VM has written in this epoch.
PrimaryMemory::Fullness PrimaryMemory::fullness(std::uint64_t pages) {
  const std::uint64_t limit = staged_.pages_max() / kFullParts * (kFullParts - 1);
  const std::uint64_t used = pages + sent_ahead_.pages;
  const std::uint64_t before = std::min(std::exchange(looked_pages_, pages), pages);
  return {.pages_new = pages - before, .pages_to_full = limit - std::min(used, limit), .full = used > limit};
}

Result<PrimaryMemory::Fullness> PrimaryMemory::look() {
  found_ = pending_;
  if (auto seen = source_->peek(found_); !seen) return tl::unexpected(seen.error());
  return fullness(found_.count());
}

Result<std::uint64_t> PrimaryMemory::send_ahead(ImageSender& sender, std::uint64_t generation,
                                                const std::function<bool()>& stopped) {
  if (!source_->scans_live()) return 0;
  PageBitmap candidates = unstaged_;
  if (auto scanned = scan(); !scanned) return tl::unexpected(scanned.error());
  candidates &= differed_;
  candidates -= found_;
  // What is sent ahead may have to be sent again, and the secondary must have room for both.
  const std::size_t pages = candidates.count();
  if (pages == 0 || sent_ahead_.pages + pages > staged_.pages_max() / kFullParts) return 0;
  RamFeed feed(ram_, candidates, absent_, stopped);
  const auto sent = sender.send(header_of(ImageKind::ahead, generation), feed, {});
  if (!sent) return tl::unexpected(sent.error());
  candidates.reset_from(feed.end());
  ahead_ |= candidates;
  unstaged_ -= candidates;
  sent_ahead_.pages += sent->pages;
  sent_ahead_.bytes += sent->bytes;
  return sent->pages;
}

// How many pages copy_unstaged() would copy in a pause that began now.
Result<std::size_t> PrimaryMemory::pages_to_copy(const SvmPages& svm) {
  found_ = unstaged_;
  if (auto seen = source_->peek(found_); !seen) return tl::unexpected(seen.error());
  found_ |= svm.dirty;
  return found_.count();
}

Result<void> PrimaryMemory::prestage(const SvmPages& svm) {
  auto left = pages_to_copy(svm);
  if (!left) return tl::unexpected(left.error());
  for (int round = 0; round<kPrestageRoundsMax&& * left> kPausePages / 2; ++round) {
    if (round == 0 && *left <= kPausePages) return {};
    // Without live scans only what the SVM alone wrote can be copied for good.
    if (source_->scans_live()) {
      if (auto scanned = scan(); !scanned) return tl::unexpected(scanned.error());
    }
    left = copy_unstaged(svm);
    if (!left) return tl::unexpected(left.error());
    if (!source_->scans_live()) return {};
  }
  return {};
}

Result<StageInfo> PrimaryMemory::stage(const SvmPages& svm) {
  StageInfo info;
  const auto scan_start = std::chrono::steady_clock::now();
  if (auto scanned = scan(); !scanned) return tl::unexpected(scanned.error());
  info.scan_ns = since(scan_start);
  const auto copy_start = std::chrono::steady_clock::now();
  const auto copied = copy_unstaged(svm);
  if (!copied) {
    staged_.clear();
    unstaged_ = pending_;
    return tl::unexpected(copied.error());
  }
  info.copy_ns = since(copy_start);
  info.pages_copied = *copied;
  found_ = pending_;
  found_ |= svm.dirty;
  info.pages_dirty = found_.count();
  pending_.clear();
  looked_pages_ = 0;
  return info;
}

Result<SentInfo> PrimaryMemory::send_staged(ImageSender& sender, std::uint64_t generation, std::uint32_t epoch,
                                            const SvmPages& svm, const ImageTail& tail) {
  StagedFeed feed(staged_, svm, ahead_, key_);
  ImageHeader header = header_of(ImageKind::checkpoint, generation);
  header.epoch = epoch;
  const auto sent = sender.send(header, feed, tail);
  if (sent) feed.note_differing(differed_);
  staged_.clear();
  ahead_.clear();
  if (!sent) return tl::unexpected(sent.error());
  const SentInfo ahead = std::exchange(sent_ahead_, {});
  return SentInfo{sent->pages + ahead.pages, sent->bytes + ahead.bytes};
}

}  // namespace twinstep::memory
