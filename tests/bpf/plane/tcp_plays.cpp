// SPDX-License-Identifier: Apache-2.0
#include <iterator>

#include "tcp_play.hpp"

namespace twinstep::test {
namespace {

using compare::Cause;
using Act = Step::Act;
using Steps = std::vector<Step>;
using Plays = std::vector<Play>;

Steps operator+(Steps first, const Steps& then) {
  first.insert(first.end(), then.begin(), then.end());
  return first;
}

Steps client(Line line) {
  return {{.act = Act::client, .line = std::move(line)}};
}
Steps pvm(Line line) {
  return {{.act = Act::pvm, .line = std::move(line)}};
}
Steps svm(Line line) {
  return {{.act = Act::svm, .line = std::move(line)}};
}
Steps out(Line line) {
  return {{.act = Act::out, .line = std::move(line)}};
}
Steps both(const Line& line) {
  return pvm(line) + svm(line) + out(line);
}
Steps quoted(Steps steps) {
  for (Step& step : steps) step.quoted = true;
  return steps;
}
Steps quiet() {
  return {{.act = Act::quiet}};
}
Steps diverges(Cause cause = Cause::content) {
  return {{.act = Act::diverges, .cause = cause}};
}
Steps checkpoint() {
  return {{.act = Act::checkpoint}};
}
Steps recount(const Origins& origins) {
  return {{.act = Act::recount, .origins = origins}};
}

const Bytes kMss = bytes_of({2, 4, 5, 0xb4});

Line syn(const Bytes& options = kMss) {
  return {.seq = 0, .flags = kSyn, .options = options};
}
Line syn_ack(const Bytes& options = kMss) {
  return {.seq = 0, .ack = 1, .flags = kSyn | kAck, .options = options};
}
Line fin(std::uint32_t seq = 1, std::uint32_t ack = 1) {
  return {.seq = seq, .ack = ack, .flags = kFin | kAck};
}
/// The client opens the connection.
Steps accepted(const Bytes& options = kMss) {
  return client(syn(options)) + both(syn_ack(options)) + client({});
}
/// The VM does.
Steps dialled(const Bytes& options = kMss) {
  return both(syn(options)) + client(syn_ack(options)) + both({});
}
Line timed(Line line, std::uint32_t own, std::uint32_t others) {
  line.times = {own, others};
  return line;
}
Steps accepted_with_times() {
  const Bytes options = concat({kMss, bytes_of({4, 2, 1, 1})});
  return client(timed(syn(options), 0, 0)) + both(timed(syn_ack(options), 0, 0)) + client(timed({}, 1, 0));
}

Plays opening_plays() {
  const Line dial = timed(syn(), 5, 0);
  Plays plays = {
      {"TheClientOpens", accepted() + client({.text = "GET"}) + both({.ack = 4, .text = "200"})},
      {"TheClientOpensOverIpv6",
       accepted_with_times() + both(timed({.text = "abc"}, 2, 1)) + client(timed({.ack = 4, .text = "d"}, 3, 2)),
       {},
       6},
      {"OnlyOnceTheSvmHasOpened", client(syn()) + pvm(syn_ack()) + quiet() + svm(syn_ack()) + out(syn_ack())},
      {"ARepeatedSynAckGoesOutAtOnce", accepted() + pvm(syn_ack()) + out(syn_ack())},
      {"TheVmOpens", both(dial) + client(timed(syn_ack(), 8, 5)) + both(timed({}, 6, 8)) +
                         both(timed({.text = "GET"}, 7, 8)) + client(timed({.ack = 4}, 9, 7))},
      {"TheVmOpensOverIpv6", dialled() + both({.text = "GET"}) + client({.ack = 4, .text = "200"}), {}, 6},
      {"TheVmOpensWhenBothDial", pvm(dial) + quiet() + svm(dial) + out(dial)},
      {"BothEndsOpenAtOnce", both(syn()) + client(syn()) + pvm(syn_ack()) + quiet() + svm(syn_ack()) + out(syn_ack()) +
                                 client({}) + both({.text = "hi"})},
      {"APortIsUsedAgain", accepted() + both({.text = "bye"}) +
                               recount({.client = {9000, 0}, .pvm = {40000, 0}, .svm = {0x80000000, 0}}) +
                               client(syn()) + pvm(syn_ack()) + quiet() + svm(syn_ack()) + out(syn_ack()) + client({}) +
                               both({.text = "hello"})},
      {"APortIsNotUsedAgainBeforeTheSvmHasSaidAll",
       accepted() + pvm({.text = "bye"}) + recount({.client = {9000, 0}, .pvm = {40000, 0}, .svm = {0x80000000, 0}}) +
           client(syn()) + pvm(syn_ack()) + svm(syn_ack()) + quiet() + recount({}) + checkpoint() +
           out({.text = "bye"}) + recount({.client = {9000, 0}, .pvm = {40000, 0}, .svm = {40000, 0}}) +
           out(syn_ack())},
      {"AConnectionIsRefused",
       client(syn()) + pvm({.seq = 0, .flags = kRst | kAck}) + quiet() + svm({.seq = 0, .flags = kRst | kAck}) +
           out({.seq = 0, .flags = kRst | kAck}),
       {.pvm = {}, .svm = {}}},
  };
  const std::vector<std::pair<std::string, Bytes>> others = {
      {"Mss", bytes_of({2, 4, 4, 0})},
      {"WindowScale", concat({kMss, bytes_of({3, 3, 7, 1})})},
      {"Sack", concat({kMss, bytes_of({4, 2, 1, 1})})},
      {"Timestamps", concat({kMss, timestamps(1, 2)})},
      {"AnUnknownOption", concat({kMss, bytes_of({99, 4, 1, 2})})},
  };
  for (const auto& [name, options] : others)
    plays.push_back({"ASynThatDiffersIn" + name + "Diverges", client(syn()) + pvm(syn_ack()) + svm(syn_ack(options)) +
                                                                  diverges() + quiet() + checkpoint() + out(syn_ack()) +
                                                                  client({}) + both({.text = "abc"})});
  return plays;
}

Plays stream_plays() {
  const Steps disorder = accepted() + pvm({.seq = 4, .text = "def"}) + pvm({.text = "abc"});
  const Steps in_order_of_arrival = out({.seq = 4, .text = "def"}) + out({.text = "abc"});
  const Steps later = accepted() + pvm({.text = "abc"}) + quiet() + checkpoint() + out({.text = "abc"});
  return {
      {"BothSidesSendInAnyOrder", disorder + svm({.seq = 5, .text = "ef"}) + quiet() + svm({.text = "ab"}) +
                                      svm({.seq = 3, .text = "cd"}) + in_order_of_arrival},
      {"BothSidesSendInAnyOrderButForOneByte", disorder + svm({.seq = 5, .text = "ef"}) + svm({.text = "ab"}) +
                                                   svm({.seq = 3, .text = "cX"}) + diverges() + quiet() + checkpoint() +
                                                   in_order_of_arrival},
      {"BeyondAHoleOfTheSvmsNothingLeaves", accepted() + pvm({.text = "abc"}) + pvm({.seq = 4, .text = "def"}) +
                                                svm({.seq = 4, .text = "def"}) + quiet() + svm({.text = "abc"}) +
                                                out({.text = "abc"}) + out({.seq = 4, .text = "def"})},
      {"ARepetitionLeavesAtOnceAndNothingNewWithIt",
       accepted() + both({.text = "abc"}) + pvm({.text = "abc"}) + out({.text = "abc"}) +
           pvm({.seq = 2, .text = "bcd"}) + quiet() + svm({.seq = 4, .text = "d"}) + out({.seq = 2, .text = "bcd"})},
      {"AnEpochBeginsWhereThePvmWas", later + pvm({.seq = 4, .text = "def"}) + quiet() +
                                          svm({.seq = 4, .text = "def"}) + out({.seq = 4, .text = "def"})},
      {"WhatTheSvmSaysOfAnEarlierEpochCountsNot", later + pvm({.seq = 4, .text = "def"}) + svm({.text = "abc"}) +
                                                      quiet() + svm({.seq = 4, .text = "Xef"}) + diverges() + quiet() +
                                                      checkpoint() + out({.seq = 4, .text = "def"})},
      {"NumbersWrap",
       accepted() + client({.text = "hello"}) + both({.ack = 6, .text = "abcdef"}) + pvm(fin(7, 6)) + quiet() +
           svm(fin(7, 6)) + out(fin(7, 6)) + client({.seq = 6, .ack = 8}),
       {.client = {0xfffffffd, 0}, .pvm = {0xfffffffe, 0}, .svm = {0x7ffffffc, 0}}},
      {"NumbersWrapAndAByteDiffersBehind",
       accepted() + pvm({.text = "abcdef"}) + svm({.text = "abcdXf"}) + diverges() + quiet() + checkpoint() +
           out({.text = "abcdef"}),
       {.pvm = {0xfffffffe, 0}, .svm = {0x7ffffffc, 0}}},
  };
}

Plays receiving_plays() {
  const Steps said = accepted() + both({.text = "abc"});
  return {
      {"NothingIsAcknowledgedThatTheSvmLacks", accepted() + client({.text = "hello"}) + pvm({.ack = 6}) + quiet() +
                                                   svm({.ack = 4}) + quiet() + svm({.ack = 6}) + out({.ack = 6})},
      {"TheSmallerWindowGoesOut", accepted() + svm({.window = 200}) + pvm({.window = 900}) + out({.window = 200}) +
                                      pvm({.window = 100}) + out({.window = 100})},
      {"AWindowThatTheSvmOpensIsTold", accepted() + svm({.window = 0}) + pvm({.window = 9000}) + out({.window = 0}) +
                                           svm({.window = 300}) + out({.window = 300}) + svm({.window = 400}) +
                                           quiet() + svm({.window = 8000}) + out({.window = 8000})},
      {"AProbeOfTheSvmsClosedWindowFindsItClosed",
       accepted() + svm({.window = 0}) + pvm({.window = 500}) + out({.window = 0}) + client({.text = "p"}) +
           svm({.window = 0}) + pvm({.window = 500}) + out({.window = 0}) + svm({.window = 500}) +
           out({.window = 500}) + pvm({.window = 500}) + out({.window = 500})},
      {"TheVmProbesTheClientsClosedWindow", said + client({.ack = 4, .window = 0}) + pvm({.seq = 3}) + out({.seq = 3}) +
                                                pvm({.seq = 4, .text = "d"}) + quiet() + svm({.seq = 4, .text = "d"}) +
                                                out({.seq = 4, .text = "d"})},
      {"AKeepAliveLeavesAtOnce",
       said + pvm({.seq = 3}) + out({.seq = 3}) + pvm({.seq = 3, .text = "?"}) + out({.seq = 3, .text = "?"})},
      {"AKeepAliveAcknowledgesNothingThatTheSvmLacks", said + client({.ack = 4, .text = "x"}) +
                                                           pvm({.seq = 3, .ack = 2}) + quiet() +
                                                           svm({.seq = 3, .ack = 2}) + out({.seq = 3, .ack = 2})},
      {"TheClientsKeepAliveReachesBoth", said + client({.seq = 0, .ack = 4}) + pvm({.seq = 4}) + out({.seq = 4})},
      {"SackAndTimestampsAreEachVmsOwn", accepted_with_times() + both(timed({.text = "abcdefghijkl"}, 2, 1)) +
                                             client(timed({.ack = 2, .sacks = {{3, 5}, {6, 8}, {9, 11}}}, 3, 2)) +
                                             both(timed({.seq = 13, .sacks = {{5, 9}}, .text = "m"}, 4, 3))},
      // With timestamps there is no room for a fourth (RFC 2018, 3).
      {"FourSackBlocks",
       accepted() + both({.text = "abcdefghijkl"}) + client({.ack = 2, .sacks = {{3, 5}, {6, 8}, {9, 10}, {11, 12}}})},
      {"AnOptionThatOnlyLooksLikeSackStaysAsItIs",
       accepted() + both({.text = "abcdef"}) +
           client({.ack = 2, .options = bytes_of({1, 1, 5, 9, 0, 0, 3, 235, 0, 0, 3, 237})})},
  };
}

Plays closing_plays() {
  const Line reset{.flags = kRst | kAck};
  const Steps said = accepted() + both({.text = "abc"});
  return {
      {"BothClose", accepted() + pvm(fin()) + quiet() + svm(fin()) + out(fin()) + client(fin(1, 2)) +
                        pvm({.seq = 2, .ack = 2}) + quiet() + svm({.seq = 2, .ack = 2}) + out({.seq = 2, .ack = 2})},
      {"TheSvmClosesEarlier", accepted() + pvm({.text = "abc"}) + svm({.flags = kFin | kAck, .text = "ab"}) +
                                  diverges() + quiet() + checkpoint() + out({.text = "abc"})},
      {"AfterItsFinTheVmMayReset",
       accepted() + both(fin()) + pvm({.seq = 2, .flags = kRst}) + out({.seq = 2, .flags = kRst})},
      // A RST opens no window, so the right edge stays where the SVM had it.
      {"AnSvmThatHasClosedResetsWhereThePvmAcknowledges",
       accepted() + both(fin()) + client(fin(1, 2)) + pvm({.seq = 2, .ack = 2}) + quiet() +
           svm({.seq = 2, .flags = kRst}) + out({.seq = 2, .ack = 2, .window = 499})},
      {"AResetWaitsForTheSvms", said + pvm({.seq = 4, .flags = kRst}) + quiet() + svm({.seq = 4, .flags = kRst}) +
                                    out({.seq = 4, .flags = kRst})},
      {"AResetOvertakesNothing", accepted() + pvm({.text = "abc"}) + pvm({.seq = 4, .flags = kRst | kAck}) +
                                     svm(reset) + quiet() + checkpoint() + out({.text = "abc"}) +
                                     out({.seq = 4, .flags = kRst | kAck})},
      {"TheClientResets", said + client({.ack = 4, .flags = kRst | kAck})},
  };
}

/// Fields that are each VM's own, and options that are opaque.
Plays marked_plays() {
  const Line urgent{.flags = kAck | kUrg, .urgent = 2, .text = "abc"};
  const Line marked{.flags = kAck | kEce | kCwr, .text = "abc"};
  const Bytes cookie = concat({kMss, bytes_of({34, 10}), pattern(8), bytes_of({1, 1})});
  Line fast = syn(cookie);
  fast.text = "GET";
  Line fast_taken = syn_ack(cookie);
  fast_taken.ack = 4;
  Line fast_other = fast;
  fast_other.text = "PUT";
  Plays plays = {
      {"UrgentBytesLeaveAsTheyAre",
       accepted() + pvm(urgent) + svm({.text = "ab"}) + quiet() + svm({.seq = 3, .text = "c"}) + out(urgent)},
      {"AnUrgentByteThatDiffersDiverges",
       accepted() + pvm(urgent) + svm({.text = "aXc"}) + diverges() + quiet() + checkpoint() + out(urgent)},
      {"MarksOfCongestionMayDiffer", accepted() + pvm(marked) + quiet() + svm({.text = "abc"}) + out(marked)},
      {"UnderMarksOfCongestionBytesMayNot",
       accepted() + pvm(marked) + svm({.text = "abX"}) + diverges() + quiet() + checkpoint() + out(marked)},
      {"CongestionIsNegotiatedByBoth", client({.seq = 0, .flags = kSyn | kEce | kCwr, .options = kMss}) +
                                           both({.seq = 0, .flags = kSyn | kAck | kEce, .options = kMss}) +
                                           client({.flags = kAck | kEce})},
      {"AFastOpenOfTheVmsLeavesOnceTheSvmHasSaidIt",
       pvm(fast) + quiet() + svm(syn(cookie)) + quiet() + svm({.ack = 0, .text = "GET"}) + out(fast)},
      {"AFastOpenOfTheVmsWithOtherBytesDiverges",
       pvm(fast) + svm(fast_other) + diverges() + quiet() + checkpoint() + out(fast)},
      {"AFastOpenOfTheClientsIsAcknowledgedByBoth",
       client(fast) + pvm(fast_taken) + svm(syn_ack(cookie)) + quiet() + svm({.ack = 4}) + out(fast_taken)},
  };
  const Origins equal{.svm = Origins{}.pvm};
  for (const int kind : {19, 29}) {
    const std::string name = kind == 19 ? "Md5" : "Ao";
    const auto with = [&](int seed) { return concat({kMss, bytes_of({kind, 6, 1, 2, seed, 4, 1, 1})}); };
    const Steps agree = pvm({.options = with(3), .text = "abc"}) + quiet() + svm({.options = with(4), .text = "abc"}) +
                        out({.options = with(3), .text = "abc"});
    plays.push_back({name + "SignaturesAreOpaque",
                     client(syn(with(1))) + pvm(syn_ack(with(1))) + svm(syn_ack(with(2))) + out(syn_ack(with(1))) +
                         client({.options = with(5)}) + agree,
                     equal});
    plays.push_back({name + "SignaturesForbidOtherNumbers",
                     client(syn(with(1))) + pvm(syn_ack(with(1))) + svm(syn_ack(with(1))) + diverges() + quiet() +
                         checkpoint() + out(syn_ack(with(1))) + client({.options = with(5)}) + agree});
    plays.push_back({name + "SignaturesAreOnBothSides",
                     client(syn(with(1))) + pvm(syn_ack(with(1))) + svm(syn_ack()) + diverges() + quiet() +
                         checkpoint() + out(syn_ack(with(1))),
                     equal});
  }
  return plays;
}

/// ICMP errors, of the client's side and the VM's.
Plays quoting_plays() {
  Plays plays;
  for (const unsigned family : {4U, 6U}) {
    const std::string over = family == 6 ? "OverIpv6" : "";
    const Steps said = accepted() + both({.text = "abc"}) + client({.ack = 4, .text = "GET"});
    plays.push_back({"AnErrorQuotesEachVmItsOwnNumber" + over, said + quoted(client({.text = "abc"})), {}, family});
    plays.push_back({"TheVmsErrorsThatQuoteTheClientAgree" + over,
                     said + quoted(pvm({.ack = 4, .text = "GET"})) + quiet() + quoted(svm({.ack = 4, .text = "GET"})) +
                         quoted(out({.ack = 4, .text = "GET"})),
                     {},
                     family});
    plays.push_back({"TheVmsErrorsThatQuoteOtherBytesDont" + over,
                     said + quoted(pvm({.ack = 4, .text = "GET"})) + quoted(svm({.seq = 2, .ack = 4, .text = "ET"})) +
                         quiet() + checkpoint() + quoted(out({.ack = 4, .text = "GET"})),
                     {},
                     family});
  }
  return plays;
}

}  // namespace

std::vector<Play> tcp_plays() {
  Plays all;
  for (auto part :
       {opening_plays(), stream_plays(), receiving_plays(), closing_plays(), marked_plays(), quoting_plays()})
    std::move(part.begin(), part.end(), std::back_inserter(all));
  return all;
}

}  // namespace twinstep::test
