// SPDX-License-Identifier: Apache-2.0
#include "memory/image_receiver.hpp"

#include <sys/socket.h>

#include <atomic>
#include <string>
#include <thread>

#include "memory/outcome.hpp"

namespace twinstep::memory {

Result<ImageReceiver> ImageReceiver::create(std::span<std::byte> ram, PageBitmap& absent,
                                            std::span<const int> sockets) {
  std::vector<PartReader> readers;
  for (const int socket : sockets) {
    auto reader = PartReader::create(socket);
    if (!reader) return tl::unexpected(reader.error());
    readers.push_back(std::move(*reader));
  }
  return ImageReceiver(ram, absent, sockets, std::move(readers));
}

Result<Received> ImageReceiver::receive(Image& image, std::chrono::milliseconds first_timeout,
                                        std::chrono::milliseconds stall_timeout) {
  if (image.complete()) image.clear();
  const auto first = wait_for_image(first_timeout, stall_timeout);
  auto received = first ? receive_parts(*first, image, stall_timeout) : tl::unexpected(first.error());
  if (!received) {
    image.clear();
    end_streams();
    return received;
  }
  image.header_ = *first;
  image.complete_ = first->kind == ImageKind::checkpoint;
  return received;
}

// The header of the first part tells what comes on the other streams.
Result<ImageHeader> ImageReceiver::wait_for_image(std::chrono::milliseconds first_timeout,
                                                  std::chrono::milliseconds stall_timeout) {
  if (auto ready = readers_.front().wait(first_timeout); !ready) return tl::unexpected(ready.error());
  auto header = readers_.front().read_header(ram_.size(), stall_timeout);
  if (!header) return header;
  if (header->part != 0 || header->parts > readers_.size() || header->sequence != sequence_) {
    return fail("the peer sent part " + std::to_string(header->part) + " of " + std::to_string(header->parts) +
                " of memory image " + std::to_string(header->sequence) + " where image " + std::to_string(sequence_) +
                " was due on " + std::to_string(readers_.size()) + " streams");
  }
  ++sequence_;
  return header;
}

Result<Received> ImageReceiver::receive_parts(const ImageHeader& first, Image& image,
                                              std::chrono::milliseconds stall_timeout) {
  PartTarget target{ram_, absent_, &image, {}};
  std::atomic<std::uint64_t> pages = 0;
  Outcome outcome;
  const auto read_part = [&](std::size_t part) -> Result<void> {
    auto header = part == 0 ? Result<ImageHeader>(first) : readers_[part].read_header(ram_.size(), stall_timeout);
    if (!header) return tl::unexpected(header.error());
    if (auto fits = verify_part(*header, first, part); !fits) return fits;
    return readers_[part].read(*header, target).map([&](std::uint64_t count) { pages += count; });
  };
  // A part that fails ends the others: the image can't become whole.
  const auto run = [&](std::size_t part) {
    if (const auto read = read_part(part); !read && outcome.add(read.error())) end_streams();
  };
  {
    std::vector<std::jthread> others;
    for (std::size_t part = 1; part < first.parts; ++part) others.emplace_back([&run, part] { run(part); });
    run(0);
  }
  if (outcome.error()) return tl::unexpected(*outcome.error());
  return Received{first.kind, first.generation, first.epoch, pages};
}

void ImageReceiver::end_streams() const {
  for (const int socket : sockets_) ::shutdown(socket, SHUT_RDWR);
}

}  // namespace twinstep::memory
