// SPDX-License-Identifier: Apache-2.0
#include "memory/primary_memory.hpp"

#include <algorithm>
#include <chrono>
#include <vector>

namespace twinstep::memory {
namespace {

Nanos since(std::chrono::steady_clock::time_point start) {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

PrimaryMemory::PrimaryMemory(std::span<const std::byte> ram, DirtySource& source, Staging staging)
    : ram_(ram),
      source_(&source),
      staging_(std::move(staging)),
      pending_(ram.size() / kPageBytes),
      selection_(pending_.pages()) {}

Result<PrimaryMemory> PrimaryMemory::create(std::span<const std::byte> ram, DirtySource& source,
                                            std::size_t epoch_bytes_max) {
  return Staging::create(epoch_bytes_max).map([&](Staging staging) {
    return PrimaryMemory(ram, source, std::move(staging));
  });
}

Result<void> PrimaryMemory::start() {
  pending_.set_all();
  return source_->arm();
}

Result<LiveRound> PrimaryMemory::live_round(ImageSender& sender, std::uint64_t generation) {
  const bool live = source_->scans_live();
  // What is found here needn't be sent twice: it is copied after this scan.
  if (live) {
    if (auto scanned = source_->scan(pending_); !scanned) return tl::unexpected(scanned.error());
  }
  ImageHeader header;
  header.kind = ImageKind::live_round;
  header.generation = generation;
  header.ram_bytes = ram_.size();
  header.pages = pending_.count();
  auto step = sender.begin(header);
  if (step) step = send_pending(sender);
  if (step) step = sender.finish({}, {});
  if (!step) return tl::unexpected(step.error());
  pending_.clear();
  // A look is enough to tell what is left; the pages stay the source's until the VM is stopped.
  PageBitmap left(pages());
  if (auto found = live ? source_->scan(pending_) : source_->peek(left); !found) return tl::unexpected(found.error());
  return LiveRound{header.pages, live ? pending_.count() : left.count(), sender.bytes_sent(), live};
}

// From copies, as a page that the guest writes during the send would not match its checksum.
Result<void> PrimaryMemory::send_pending(ImageSender& sender) {
  std::vector<PageNumber> numbers;
  numbers.reserve(pending_.count());
  pending_.for_each([&](PageNumber number) { numbers.push_back(number); });
  std::span<const PageNumber> left(numbers);
  const std::size_t batch_max = std::min(kChunkDataPagesMax, staging_.pages_max());
  while (!left.empty()) {
    const auto batch = left.first(std::min(left.size(), batch_max));
    staging_.clear();
    if (auto copied = staging_.append(ram_, batch); !copied) return copied;
    if (auto sent = sender.add(staging_.numbers(), staging_.bytes()); !sent) return sent;
    left = left.subspan(batch.size());
  }
  staging_.clear();
  return {};
}

Result<StageInfo> PrimaryMemory::stage(const PageBitmap& svm_dirty) {
  const auto scan_start = std::chrono::steady_clock::now();
  if (auto scanned = source_->scan(pending_); !scanned) return tl::unexpected(scanned.error());
  StageInfo info;
  info.scan_ns = since(scan_start);
  const auto copy_start = std::chrono::steady_clock::now();
  selection_ = pending_;
  selection_ |= svm_dirty;
  if (auto copied = staging_.copy(ram_, selection_); !copied) return tl::unexpected(copied.error());
  info.copy_ns = since(copy_start);
  info.pages_primary = pending_.count();
  info.pages_secondary = svm_dirty.count();
  info.pages_staged = staging_.size();
  pending_.clear();
  return info;
}

Result<std::uint64_t> PrimaryMemory::send_staged(ImageSender& sender, std::uint64_t generation, std::uint32_t epoch,
                                                 std::span<const std::byte> meta,
                                                 std::span<const std::byte> device_state) {
  if (meta.size() > kMetaBytesMax || device_state.size() > kStateBytesMax) {
    return fail("a checkpoint's device state or meta data is beyond 64 MiB");
  }
  ImageHeader header;
  header.kind = ImageKind::checkpoint;
  header.generation = generation;
  header.ram_bytes = ram_.size();
  header.pages = staging_.size();
  header.epoch = epoch;
  header.meta_bytes = static_cast<std::uint32_t>(meta.size());
  header.state_bytes = static_cast<std::uint32_t>(device_state.size());
  auto step = sender.begin(header);
  if (step) step = sender.add(staging_.numbers(), staging_.bytes());
  if (step) step = sender.finish(meta, device_state);
  staging_.clear();
  if (!step) return tl::unexpected(step.error());
  return sender.bytes_sent();
}

}  // namespace twinstep::memory
