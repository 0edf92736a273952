// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <utility>

#include "wire/bodies.hpp"
#include "wire/bytes.hpp"

// A page set on the wire: the number of pages, then varints: pages to skip, pages in the run, and so on until the set's
// last run. Guests write few pages, and neighbours together, between two checkpoints: far smaller than a bitmap. The
// worst case, every other page, takes one byte a page.

namespace twinstep::wire {
namespace {

constexpr std::size_t kWordBits = 64;
constexpr std::size_t kPageHashBytes = 16;

/// The first page at or after `from` whose bit is `wanted`; `pages` if there is none.
std::size_t find(std::span<const std::uint64_t> words, std::size_t pages, std::size_t from, bool wanted) {
  while (from < pages) {
    const std::uint64_t word = words[from / kWordBits];
    const std::uint64_t candidates = (wanted ? word : ~word) >> (from % kWordBits);
    if (candidates != 0) return std::min(pages, from + static_cast<std::size_t>(std::countr_zero(candidates)));
    from = (from / kWordBits + 1) * kWordBits;
  }
  return pages;
}

void set_run(std::span<std::uint64_t> words, std::size_t first, std::size_t end) {
  while (first < end) {
    const std::size_t offset = first % kWordBits;
    const std::size_t count = std::min(end - first, kWordBits - offset);
    const std::uint64_t ones = count == kWordBits ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
    words[first / kWordBits] |= ones << offset;
    first += count;
  }
}

}  // namespace

std::vector<std::byte> encode_page_set(std::size_t pages, std::span<const std::uint64_t> words) {
  ByteWriter writer;
  writer.put(std::uint64_t{pages});
  std::size_t end = 0;
  for (;;) {
    const std::size_t first = find(words, pages, end, true);
    if (first == pages) break;
    writer.put_varint(first - end);
    end = find(words, pages, first, false);
    writer.put_varint(end - first);
  }
  return std::move(writer).take();
}

Result<std::vector<std::uint64_t>> decode_page_set(std::size_t pages, std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  if (const auto announced = reader.get<std::uint64_t>(); reader.failed() || announced != pages)
    return fail("the peer's list of dirty pages is for a VM of " + std::to_string(announced) + " pages, this one has " +
                std::to_string(pages));
  std::vector<std::uint64_t> words((pages + kWordBits - 1) / kWordBits);
  std::size_t end = 0;
  while (!reader.at_end()) {
    const std::uint64_t skip = reader.get_varint();
    const std::uint64_t run = reader.get_varint();
    const std::size_t left = pages - end;
    if (reader.failed() || skip > left || run == 0 || run > left - skip)
      return fail("the peer's list of dirty pages is malformed");
    set_run(words, end + skip, end + skip + run);
    end += skip + run;
  }
  return words;
}

std::vector<std::byte> encode_svm_stopped(std::size_t pages, std::span<const std::uint64_t> words,
                                          std::span<const std::byte> hashes) {
  const auto set = encode_page_set(pages, words);
  ByteWriter writer;
  writer.put(std::uint64_t{set.size()});
  auto body = std::move(writer).take();
  body.insert(body.end(), set.begin(), set.end());
  body.insert(body.end(), hashes.begin(), hashes.end());
  return body;
}

Result<SvmStoppedBody> decode_svm_stopped(std::size_t pages, std::span<const std::byte> bytes) {
  ByteReader reader(bytes.first(std::min(bytes.size(), sizeof(std::uint64_t))));
  const auto set_bytes = reader.get<std::uint64_t>();
  if (reader.failed() || set_bytes > bytes.size() - sizeof(std::uint64_t))
    return fail("the peer's list of dirty pages is malformed");
  auto words = decode_page_set(pages, bytes.subspan(sizeof(std::uint64_t), set_bytes));
  if (!words) return tl::unexpected(words.error());
  const auto hashes = bytes.subspan(sizeof(std::uint64_t) + set_bytes);
  std::size_t count = 0;
  for (const std::uint64_t word : *words) count += static_cast<std::size_t>(std::popcount(word));
  if (hashes.size() % kPageHashBytes != 0 || hashes.size() / kPageHashBytes > count)
    return fail("the peer's list of dirty pages has hashes of other pages");
  return SvmStoppedBody{std::move(*words), {hashes.begin(), hashes.end()}};
}

}  // namespace twinstep::wire
