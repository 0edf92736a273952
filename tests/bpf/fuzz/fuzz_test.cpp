// SPDX-License-Identifier: Apache-2.0
// Frames that are nearly right through the real programs. Each ends with the verdict and in the counter that its mode
// asks for, none uncounted, and the programs see in it what user space sees. TWINSTEP_FUZZ_FRAMES: how many for each
// program. TWINSTEP_FUZZ_SEED: repeats a run.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <random>

#include "../program_test.hpp"
#include "core/compare/frame.hpp"
#include "mutate.hpp"

namespace twinstep::test {
namespace {

constexpr std::uint64_t kFramesDefault = 200'000;
constexpr std::uint64_t kFramesOfOneMode = 4096;
constexpr std::uint32_t kUncounted = TS_COUNTERS;

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody sets variables
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// Ones' complement sum of 16-bit words, modulo 0xffff: what no rewriting may change.
std::uint64_t sum_of(std::span<const std::byte> bytes) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i)
    sum += std::to_integer<std::uint64_t>(bytes[i]) << (i % 2 == 0 ? 8 : 0);
  return sum % 0xffff;
}

/// What must become of a frame.
struct Fate {
  std::uint32_t action = XDP_REDIRECT;
  std::uint32_t counter = kUncounted;
};

class FuzzTest : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    seed_ = setting("TWINSTEP_FUZZ_SEED", std::random_device{}());
    frames_ = setting("TWINSTEP_FUZZ_FRAMES", kFramesDefault);
    RecordProperty("seed", std::to_string(seed_));
    std::printf("seed %llu, %llu frames\n", static_cast<unsigned long long>(seed_),
                static_cast<unsigned long long>(frames_));
    mutator_.emplace(seed_);
  }

  /// Every connection of the table has differences and a translation, so that rewriting is fuzzed too. A SYN ends them.
  void know_all() {
    for (const auto& each : table_) know(each.frame);
  }
  void know(const Bytes& frame) {
    const auto parsed = compare::parse(frame, *key_);
    if (parsed.cls != TS_CLASS_TCP) return;
    ts_flow_key key = parsed.flow;
    key.slot = kSlot;
    set_flow(key, {.seq_delta = 0x12345, .ts_delta = 0x777});
    ts_translation translation{};
    translation.seq_delta = 0x54321;
    translation.ts_offset = 0x999;
    set_translation(key, translation);
  }

  /// Runs a program on a frame. What comes back is in out_: metadata, if there is any, and the frame.
  std::uint32_t run_one(int program, std::span<const std::byte> frame) {
    xdp_md context_in{};
    context_in.data_end = static_cast<std::uint32_t>(frame.size());
    context_in.ingress_ifindex = 1;
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = frame.data();
    options.data_size_in = static_cast<std::uint32_t>(frame.size());
    options.data_out = out_.data();
    options.data_size_out = static_cast<std::uint32_t>(out_.size());
    options.ctx_in = &context_in;
    options.ctx_size_in = sizeof(context_in);
    if (bpf_prog_test_run_opts(program, &options) != 0) return UINT32_MAX;
    out_bytes_ = options.data_size_out;
    meta_bytes_ = out_bytes_ == frame.size() + sizeof(ts_frame_meta) ? sizeof(ts_frame_meta) : 0;
    return options.retval;
  }
  std::span<const std::byte> frame_out() const {
    return std::span(out_).subspan(meta_bytes_, out_bytes_ - meta_bytes_);
  }

  /// The metadata says what user space says.
  void check_meta(std::span<const std::byte> frame) {
    ASSERT_EQ(meta_bytes_, sizeof(ts_frame_meta));
    ts_frame_meta meta{};
    std::memcpy(&meta, out_.data(), sizeof(meta));
    const auto own = compare::parse(frame, *key_);
    const auto joined = compare::parse(frame, meta, *key_);
    ASSERT_EQ(meta.class_flags & 0xf, own.cls);
    ASSERT_EQ(joined.cls, own.cls);
    ASSERT_EQ(joined.payload.data(), own.payload.data());
    ASSERT_EQ(joined.payload.size(), own.payload.size());
    ASSERT_TRUE(joined.digest == own.digest);
    ASSERT_TRUE(std::equal(frame.begin(), frame.end(), frame_out().begin(), frame_out().end()));
  }

  /// Of a frame that was rewritten nothing moved, and its checksums are as right as they were.
  void check_rewritten(std::span<const std::byte> before) {
    const auto after = frame_out();
    ASSERT_EQ(after.size(), before.size());
    if (std::equal(before.begin(), before.end(), after.begin())) return;
    ++rewritten_;
    const ts_packet layout = compare::layout_of(before);
    ASSERT_TRUE(layout.kind == TS_CLASS_TCP || layout.quoted_tcp_offset != 0);
    const auto body = [&](std::span<const std::byte> frame) {
      return frame.subspan(layout.transport_offset, layout.ip_end - layout.transport_offset);
    };
    ASSERT_EQ(sum_of(body(before)), sum_of(body(after)));
    ASSERT_TRUE(std::equal(before.begin(), before.begin() + layout.transport_offset, after.begin()));
    ASSERT_TRUE(std::equal(before.begin() + layout.ip_end, before.end(), after.begin() + layout.ip_end));
  }

  /// Every `kFramesOfOneMode` frames another mode, and the books are balanced.
  template <typename Next, typename Mode>
  void fuzz(int program, Mode&& set_mode, Next&& next) {
    for (std::uint64_t number = 0; number < frames_; ++number) {
      if (number % kFramesOfOneMode == 0) {
        ASSERT_NO_FATAL_FAILURE(check_counters());
        know_all();
        set_mode(number / kFramesOfOneMode);
      }
      ASSERT_NO_FATAL_FAILURE(next(program)) << "frame " << number << " of seed " << seed_;
    }
    ASSERT_NO_FATAL_FAILURE(check_counters());
    EXPECT_GT(rewritten_, frames_ / 10'000);
  }

  void check_counters() {
    for (std::uint32_t which = 0; which < TS_COUNTERS; ++which) {
      if (which == TS_COUNT_LINK_REWRITTEN || which == TS_COUNT_LINK_DELTAS) continue;
      std::uint64_t counted = count(static_cast<ts_counter>(which));
      // Whether a difference is an older connection's, which is stale, depends on all that came before.
      if (which == TS_COUNT_LINK_STALE) counted += count(TS_COUNT_LINK_DELTAS);
      ASSERT_EQ(counted, expected_.at(which)) << "counter " << which << ", seed " << seed_;
    }
  }

  void expect(std::uint32_t action, const Fate& fate) {
    ASSERT_EQ(action, fate.action);
    if (fate.counter != kUncounted) ++expected_.at(fate.counter);
  }

  const std::vector<PacketCase> table_ = packet_table();
  std::optional<Mutator> mutator_;
  std::uint64_t seed_ = 0;
  std::uint64_t frames_ = 0;
  std::uint64_t rewritten_ = 0;
  std::array<std::uint64_t, TS_COUNTERS> expected_{};
  std::array<std::byte, 4096 + 512> out_{};
  std::size_t meta_bytes_ = 0;
  std::size_t out_bytes_ = 0;
};

TEST_F(FuzzTest, Tap) {
  ts_tap_mode mode = TS_TAP_CLOSED;
  const auto set_mode = [&](std::uint64_t turn) {
    mode = turn % 8 == 0 ? TS_TAP_CLOSED : turn % 8 < 4 ? TS_TAP_DIRECT : TS_TAP_HOLD;
    set_modes(mode, TS_UPLINK_DIRECT, turn % 2 == 0);
  };
  fuzz(tap_fd(), set_mode, [&](int program) {
    const Bytes& frame = mutator_->next(false);
    const std::uint32_t action = run_one(program, frame);
    switch (mode) {
      case TS_TAP_CLOSED:
        expect(action, {XDP_DROP, TS_COUNT_TAP_CLOSED});
        break;
      case TS_TAP_DIRECT:
        expect(action, {XDP_REDIRECT, TS_COUNT_TAP_DIRECT});
        check_rewritten(frame);
        break;
      case TS_TAP_HOLD:
        expect(action, {XDP_REDIRECT, TS_COUNT_TAP_HELD});
        check_meta(frame);
        break;
    }
  });
}

TEST_F(FuzzTest, Uplink) {
  ts_uplink_mode mode = TS_UPLINK_CLOSED;
  const auto set_mode = [&](std::uint64_t turn) {
    mode = static_cast<ts_uplink_mode>(turn % 4);
    set_modes(TS_TAP_DIRECT, mode);
  };
  fuzz(uplink_fd(), set_mode, [&](int program) {
    const Bytes& frame = mutator_->next(true);
    const bool own = std::equal(kVmMac.begin(), kVmMac.end(), frame.begin(),
                                [](std::uint8_t mac, std::byte byte) { return std::byte{mac} == byte; });
    const std::uint32_t action = run_one(program, frame);
    if (!own) {
      expect(action, {XDP_PASS});
      return;
    }
    static constexpr std::array<Fate, 4> kFates = {{{XDP_DROP, TS_COUNT_UPLINK_CLOSED},
                                                    {XDP_REDIRECT, TS_COUNT_UPLINK_TAP},
                                                    {XDP_REDIRECT, TS_COUNT_UPLINK_MIRRORED},
                                                    {XDP_REDIRECT, TS_COUNT_UPLINK_GATED}}};
    expect(action, kFates.at(mode));
    check_rewritten(frame);
  });
}

/// A frame of the other host: the encapsulation, now and then with one field wrong, and an inner frame or any body.
class LinkFuzzTest : public FuzzTest {
 protected:
  /// Puts the header in front of `inner`, and says what must become of the whole.
  Fate wrap(const Bytes& inner, Bytes& outer) {
    constexpr std::array<unsigned, 8> kTypes = {TS_LINK_MIRROR, TS_LINK_MIRROR,  TS_LINK_MIRROR, TS_LINK_MIRROR,
                                                TS_LINK_MIRROR, TS_LINK_RECORDS, TS_LINK_MIRROR, TS_LINK_FLOW_DELTA};
    const unsigned type = mutator_->below(32) == 0 ? mutator_->below(256) : kTypes.at(mutator_->below(kTypes.size()));
    const std::uint32_t epoch = mutator_->below(16) == 0 ? mutator_->below(10) : kEpoch;
    const auto vm_id = static_cast<std::uint16_t>(mutator_->below(32) == 0 ? mutator_->below(99) : kVmId);
    const auto version = static_cast<std::uint8_t>(mutator_->below(32) == 0 ? mutator_->below(4) : TS_ABI_VERSION);
    const bool ours = mutator_->below(32) != 0;
    outer = link_frame(type, inner, epoch, vm_id, version);
    if (!ours) put16(outer, 12, 0x0800);
    type_ = type;
    if (!ours) return {XDP_PASS};
    if (vm_id != kVmId) return {XDP_DROP};
    if (version != TS_ABI_VERSION) return {XDP_DROP, TS_COUNT_LINK_ERROR};
    if (type == TS_LINK_RECORDS) return {XDP_REDIRECT, TS_COUNT_LINK_RECORDS};
    if (type == TS_LINK_MIRROR && epoch == kEpoch && open_) return {XDP_REDIRECT, TS_COUNT_LINK_DELIVERED};
    if (type == TS_LINK_MIRROR) return {XDP_DROP, TS_COUNT_LINK_STALE};
    if (type != TS_LINK_FLOW_DELTA || inner.size() < sizeof(ts_flow_delta)) return {XDP_DROP, TS_COUNT_LINK_ERROR};
    return {XDP_DROP, TS_COUNT_LINK_STALE};
  }

  bool open_ = false;
  unsigned type_ = 0;
};

TEST_F(LinkFuzzTest, Link) {
  const auto set_mode = [&](std::uint64_t turn) {
    open_ = turn % 8 != 0;
    set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, open_);
  };
  Bytes outer;
  fuzz(link_fd(), set_mode, [&](int program) {
    const Bytes& inner = mutator_->next(true);
    const Fate fate = wrap(inner, outer);
    const std::uint32_t action = run_one(program, outer);
    expect(action, fate);
    if (fate.counter == TS_COUNT_LINK_DELIVERED) check_rewritten(inner);
  });
}

}  // namespace
}  // namespace twinstep::test
