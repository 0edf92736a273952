// SPDX-License-Identifier: Apache-2.0
#include "memory/primary_memory.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <utility>

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

PrimaryMemory::PrimaryMemory(std::span<const std::byte> ram, DirtySource& source, PageHashKey key, Staging batch,
                             StagedPages staged)
    : ram_(ram),
      source_(&source),
      key_(key),
      batch_(std::move(batch)),
      staged_(std::move(staged)),
      pending_(ram.size() / kPageBytes),
      unstaged_(pending_.pages()),
      ahead_(pending_.pages()),
      differed_(pending_.pages()),
      absent_(pending_.pages()),
      found_(pending_.pages()) {}

Result<PrimaryMemory> PrimaryMemory::create(std::span<const std::byte> ram, DirtySource& source,
                                            std::size_t epoch_bytes_max, PageHashKey key) {
  auto staged = StagedPages::create(epoch_bytes_max, ram.size() / kPageBytes);
  if (!staged) return tl::unexpected(staged.error());
  return Staging::create(kChunkDataPagesMax * kPageBytes).map([&](Staging batch) {
    return PrimaryMemory(ram, source, key, std::move(batch), std::move(*staged));
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

Result<LiveRound> PrimaryMemory::live_round(ImageSender& sender, std::uint64_t generation, const OnSent& on_sent) {
  const bool live = source_->scans_live();
  // What is found here needn't be sent twice: it is copied after this scan.
  if (live) {
    if (auto scanned = scan(); !scanned) return tl::unexpected(scanned.error());
  }
  auto step = sender.begin(header_of(ImageKind::live_round, generation), {});
  if (step) step = send_pending(sender, on_sent);
  if (step) step = sender.finish({});
  if (!step) return tl::unexpected(step.error());
  pending_.clear();
  unstaged_.clear();
  absent_.clear();
  LiveRound round{sender.pages_sent(), 0, sender.bytes_sent(), live};
  found_.clear();
  // A look is enough to tell what is left; the pages stay the source's until the VM is stopped.
  if (auto seen = source_->peek(found_); !seen) return tl::unexpected(seen.error());
  round.pages_left = found_.count();
  return round;
}

// From copies, as a page that the guest writes during the send would not match its checksum.
Result<void> PrimaryMemory::send_pending(ImageSender& sender, const OnSent& on_sent) {
  static constexpr std::array<std::byte, kPageBytes> kZeros{};
  Result<void> step;
  pending_.for_each([&](PageNumber number) {
    if (!step) return;
    if (absent_.test(number)) {
      step = sender.add(number, kZeros);
      return;
    }
    step = batch_.append(ram_, number);
    if (step && batch_.size() == batch_.pages_max()) step = send_batch(sender, on_sent);
  });
  return step ? send_batch(sender, on_sent) : step;
}

Result<void> PrimaryMemory::send_batch(ImageSender& sender, const OnSent& on_sent) {
  for (std::size_t i = 0; i < batch_.size(); ++i) {
    if (auto sent = sender.add(batch_.numbers()[i], batch_.page(i)); !sent) return sent;
  }
  auto step = sender.flush();
  batch_.clear();
  if (step && on_sent) step = on_sent(sender.pages_sent(), sender.bytes_sent());
  return step;
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

// Copies what was written since it was copied last, and what only the SVM wrote.
Result<std::size_t> PrimaryMemory::copy_unstaged(const SvmPages& svm) {
  std::size_t copied = 0;
  Result<void> step;
  const auto copy = [&](PageNumber number) {
    if (step) step = staged_.copy(ram_, number);
    ++copied;
  };
  unstaged_.for_each(copy);
  svm.dirty.for_each([&](PageNumber number) {
    if (!staged_.holds(number) && !ahead_.test(number)) copy(number);
  });
  if (!step) return tl::unexpected(step.error());
  unstaged_.clear();
  return copied;
}

Result<PrimaryMemory::AheadInfo> PrimaryMemory::send_ahead(ImageSender& sender, std::uint64_t generation) {
  AheadInfo info;
  PageBitmap candidates = unstaged_;
  if (source_->scans_live()) {
    if (auto scanned = scan(); !scanned) return tl::unexpected(scanned.error());
    candidates &= differed_;
    candidates -= found_;
    info.full = pending_.count() > staged_.pages_max() / kFullParts * (kFullParts - 1);
  } else {
    found_.clear();
    if (auto seen = source_->peek(found_); !seen) return tl::unexpected(seen.error());
    info.full = found_.count() > staged_.pages_max() / kFullParts * (kFullParts - 1);
    return info;
  }
  // What is sent ahead may have to be sent again, and the secondary must have room for both.
  const std::size_t pages = candidates.count();
  if (pages == 0 || sent_ahead_.pages + pages > staged_.pages_max() / kFullParts) return info;
  auto step = sender.begin(header_of(ImageKind::ahead, generation), {});
  candidates.for_each([&](PageNumber number) {
    if (step) step = batch_.append(ram_, number);
    if (step && batch_.size() == batch_.pages_max()) step = send_batch(sender, {});
  });
  if (step) step = send_batch(sender, {});
  if (step) step = sender.finish({});
  if (!step) return tl::unexpected(step.error());
  ahead_ |= candidates;
  unstaged_ -= candidates;
  sent_ahead_.pages += sender.pages_sent();
  sent_ahead_.bytes += sender.bytes_sent();
  info.pages_sent = sender.pages_sent();
  return info;
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
  return info;
}

Result<SentInfo> PrimaryMemory::send_staged(ImageSender& sender, std::uint64_t generation, std::uint32_t epoch,
                                            const SvmPages& svm, const ImageTail& tail) {
  // Where in svm.hashes each page of the SVM is. The staged pages come in no order.
  std::vector<PageNumber> hashed;
  hashed.reserve(svm.hashes.size());
  svm.dirty.for_each([&](PageNumber number) {
    if (hashed.size() < svm.hashes.size()) hashed.push_back(number);
  });
  // What it was sent ahead is older, and must be overruled even if its own page is the newer.
  const auto secondary_has = [&](std::size_t index) {
    if (ahead_.test(staged_.numbers()[index])) return false;
    const auto found = std::lower_bound(hashed.begin(), hashed.end(), staged_.numbers()[index]);
    if (found == hashed.end() || *found != staged_.numbers()[index]) return false;
    return svm.hashes[static_cast<std::size_t>(found - hashed.begin())] == hash_page(staged_.page(index), key_);
  };
  ImageHeader header = header_of(ImageKind::checkpoint, generation);
  header.epoch = epoch;
  auto step = sender.begin(header, tail);
  for (std::size_t i = 0; step && i < staged_.size(); ++i) {
    const PageNumber number = staged_.numbers()[i];
    if (secondary_has(i)) {
      differed_.reset(number);
      continue;
    }
    differed_.set(number);
    step = sender.add(number, staged_.page(i));
  }
  if (step) step = sender.finish(tail);
  staged_.clear();
  ahead_.clear();
  if (!step) return tl::unexpected(step.error());
  const SentInfo ahead = std::exchange(sent_ahead_, {});
  return SentInfo{sender.pages_sent() + ahead.pages, sender.bytes_sent() + ahead.bytes};
}

}  // namespace twinstep::memory
