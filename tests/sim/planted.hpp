// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace twinstep::sim {

/// A mistake put between the product's code and the simulated world, to prove that the checkers see it. None of them
/// touches the product's code: they change what goes into it or comes out of it.
enum class Planted : std::uint8_t {
  nothing,
  release_before_ack,    ///< the comparer is told that the SVM acknowledged far more than it did -> I1
  promote_without_swap,  ///< the secondary's questions to the arbiter are answered "ok" without asking it -> I2
  apply_partial_image,   ///< the first part of an image counts as the whole -> I3
  keep_old_digests,      ///< records of the closed epoch are given to the comparer again in the new one -> I1
};

}  // namespace twinstep::sim
