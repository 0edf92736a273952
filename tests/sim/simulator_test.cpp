// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <set>
#include <string>

#include "report.hpp"
#include "world.hpp"

namespace twinstep::sim {
namespace {

constexpr std::uint64_t kSeeds = 2000;
constexpr std::uint64_t kSeedsPerPlantedBug = 300;

/// Branches that the seeds together must reach, or they prove less than they seem to.
constexpr std::array kMarks = {
    "the primary fell while protected",
    "the secondary fell while protecting",
    "took over",
    "took over from a commit that was not yet applied",
    "took over, throwing away part of an image",
    "took over with numbers to rewrite",
    "replayed output after taking over",
    "the primary won a cut link",
    "went solo with output held",
    "protected again after a failover",
    "arbiter answer lost",
    "arbiter question carried out late",
    "mirrored frame of another epoch",
    "window update made",
    "worked out a difference as secondary",
    "translated for a protected VM",
    "began an epoch in which the SVM rests",
    "woke an SVM that rested",
    "compared again after a rest",
    "synchronised anew by itself",
    "diverged: output",
    "expendable frame dropped",
    "diverged: content",
    "diverged: stall",
    "diverged: ack",
    "diverged: datagram",
};

TEST(Simulator, SeedsKeepTheInvariantsAndReachEveryBranch) {
  std::set<std::string, std::less<>> reached;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const Outcome outcome = run_seed(seed);
    ASSERT_FALSE(outcome.violation) << describe(seed, *outcome.violation);
    reached.insert(outcome.marks.begin(), outcome.marks.end());
  }
  for (const std::string_view mark : kMarks) EXPECT_TRUE(reached.contains(mark)) << "no seed reached: " << mark;
}

TEST(Simulator, ASeedReproducesItsRun) {
  std::set<std::uint64_t> fingerprints;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const std::uint64_t fingerprint = run_seed(seed).fingerprint;
    EXPECT_EQ(fingerprint, run_seed(seed).fingerprint) << "seed " << seed;
    fingerprints.insert(fingerprint);
  }
  EXPECT_EQ(fingerprints.size(), 20U) << "different seeds must give different runs";
}

struct PlantedCase {
  const char* name;
  Planted bug;
  const char* invariant;
};

class PlantedBug : public testing::TestWithParam<PlantedCase> {};

TEST_P(PlantedBug, IsCaughtByItsInvariant) {
  for (std::uint64_t seed = 1; seed <= kSeedsPerPlantedBug; ++seed) {
    const Outcome outcome = run_seed(seed, GetParam().bug);
    if (outcome.violation && outcome.violation->invariant == GetParam().invariant) {
      std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed), outcome.violation->text.c_str());
      return;
    }
  }
  FAIL() << "no seed of " << kSeedsPerPlantedBug << " broke " << GetParam().invariant;
}

INSTANTIATE_TEST_SUITE_P(Simulator, PlantedBug,
                         testing::Values(PlantedCase{"ReleaseBeforeAck", Planted::release_before_ack, "I1"},
                                         PlantedCase{"PromoteWithoutSwap", Planted::promote_without_swap, "I2"},
                                         PlantedCase{"ApplyPartialImage", Planted::apply_partial_image, "I3"},
                                         PlantedCase{"KeepOldDigests", Planted::keep_old_digests, "I1"}),
                         [](const auto& planted) { return std::string(planted.param.name); });

}  // namespace
}  // namespace twinstep::sim
