// SPDX-License-Identifier: Apache-2.0
#include "memory/page_bitmap.hpp"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <set>
#include <stdexcept>

namespace twinstep::memory {
namespace {

std::set<PageNumber> content(const PageBitmap& bitmap) {
  std::set<PageNumber> pages;
  bitmap.for_each([&](PageNumber page) { pages.insert(page); });
  return pages;
}

TEST(PageBitmap, AgreesWithASetOfNumbers) {
  std::mt19937 random(42);
  for (int run = 0; run < 200; ++run) {
    const std::size_t pages = 1 + random() % 300;
    PageBitmap bitmap(pages);
    std::set<PageNumber> expected;
    for (int i = 0; i < 5; ++i) {
      const std::size_t first = random() % (pages + 1);
      const std::size_t end = first + random() % (pages - first + 1);
      bitmap.set_range(first, end);
      for (std::size_t page = first; page < end; ++page) expected.insert(static_cast<PageNumber>(page));
      const std::size_t one = random() % pages;
      bitmap.set(one);
      expected.insert(static_cast<PageNumber>(one));
    }
    ASSERT_EQ(content(bitmap), expected) << "run " << run;
    ASSERT_EQ(bitmap.count(), expected.size());
    for (std::size_t page = 0; page < pages; ++page) {
      ASSERT_EQ(bitmap.test(page), expected.contains(static_cast<PageNumber>(page)));
    }
  }
}

TEST(PageBitmap, UnionAndIntersection) {
  PageBitmap a(130);
  PageBitmap b(130);
  a.set_range(0, 70);
  b.set_range(60, 130);
  PageBitmap both = a;
  both &= b;
  EXPECT_EQ(both.count(), 10U);
  EXPECT_TRUE(both.test(60) && both.test(69) && !both.test(59) && !both.test(70));
  a |= b;
  EXPECT_EQ(a.count(), 130U);
  a.clear();
  EXPECT_EQ(a.count(), 0U);
}

TEST(PageBitmap, TakesAPeersWords) {
  PageBitmap sent(100);
  sent.set(0);
  sent.set(99);
  const auto received = PageBitmap::from_words(100, sent.words());
  ASSERT_TRUE(received) << received.error().message;
  EXPECT_EQ(*received, sent);
}

TEST(PageBitmap, RefusesAPeersNonsense) {
  const std::array<std::uint64_t, 2> beyond{0, std::uint64_t{1} << 36};
  EXPECT_FALSE(PageBitmap::from_words(100, beyond)) << "page 100 of 100";
  EXPECT_TRUE(PageBitmap::from_words(101, beyond));
  EXPECT_FALSE(PageBitmap::from_words(129, beyond)) << "too few words";
  EXPECT_FALSE(PageBitmap::from_words(64, beyond)) << "too many words";
}

TEST(PageBitmap, ForeignSizesAndPagesAreBrokenInvariants) {
  PageBitmap a(64);
  EXPECT_THROW(a |= PageBitmap(65), std::logic_error);
  EXPECT_THROW(a &= PageBitmap(63), std::logic_error);
  EXPECT_THROW(a.set_range(10, 65), std::logic_error);
}

}  // namespace
}  // namespace twinstep::memory
