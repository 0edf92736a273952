// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace twinstep::compare {

/// A queue in one block of memory that is kept when the queue runs empty, so that the steady state allocates nothing
/// (a std::deque allocates even while it is empty).
template <typename T>
class Fifo {
 public:
  bool empty() const { return head_ == items_.size(); }
  std::size_t size() const { return items_.size() - head_; }
  T& front() { return items_[head_]; }
  const T& front() const { return items_[head_]; }
  const T& back() const { return items_.back(); }
  auto begin() { return items_.begin() + static_cast<std::ptrdiff_t>(head_); }
  auto begin() const { return items_.begin() + static_cast<std::ptrdiff_t>(head_); }
  auto end() { return items_.end(); }
  auto end() const { return items_.end(); }

  void push_back(T item) {
    if (head_ > items_.size() / 2) compact();
    items_.push_back(std::move(item));
  }
  /// `at`: an iterator of this queue; all of them are invalid afterwards.
  template <typename Iterator>
  void insert(Iterator at, T item) {
    items_.insert(at, std::move(item));
  }
  void pop_front() {
    ++head_;
    if (empty()) clear();
  }
  void pop_back() {
    items_.pop_back();
    if (empty()) clear();
  }
  void clear() {
    items_.clear();
    head_ = 0;
  }

 private:
  void compact() {
    items_.erase(items_.begin(), begin());
    head_ = 0;
  }

  std::vector<T> items_;
  std::size_t head_ = 0;
};

}  // namespace twinstep::compare
