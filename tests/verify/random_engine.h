// SPDX-License-Identifier: Apache-2.0
// Random traces for tests of the rules.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "verify/dice.h"

namespace pagetape {

using Lines = std::vector<std::string>;

// Random events of a small engine: three requests, two index spaces with a map between them and a
// second pool in the first, a table for each space; pages of four tokens, or of one. Mostly right,
// sometimes not.
class Engine {
 public:
  explicit Engine(std::uint64_t seed) : dice_(seed) {
    lines_ = {pool("F", 14, kPad),
              pool("S", 12, kPad),
              pool("E", 14, R"(,"space":"F")"),
              pool("Y", 14, R"(,"space":"Z")"),
              pool("G", 14),
              R"({"ev":"backend","backend":"t"})",
              R"({"ev":"backend","backend":"unbound"})",
              R"({"ev":"pool_swap","backend":"t","layers":"*","pool":"F"})",
              R"({"ev":"pool_swap","backend":"t","layers":[2],"pool":"S"})",
              R"({"ev":"pool_swap","backend":"t","layers":[3],"pool":"E"})",
              buffer("F.t"),
              buffer("S.t"),
              R"({"ev":"buffer","buffer":"l"})",
              R"({"ev":"graph_capture","graph":"G","launches":[)" + captured(0) + ',' +
                  captured(2) + ',' + captured(1) + ',' + captured(3) + "]}"};
    add(R"({"ev":"graph_capture","graph":"H","launches":[)" + captured_store(0) + ',' +
        captured(0) + ',' + captured_store(2) + ',' + captured(2) + ',' + captured_store(1) +
        (dice_.one_in(6) ? kCapturedCopy : "") + ',' + captured(1) + "]}");
    if (!dice_.one_in(3)) declare_map();
  }

  Lines run(int steps) {
    for (int i = 0; i < steps; ++i) step();
    return lines_;
  }

 private:
  struct Request {
    std::int64_t len = 0;
    std::vector<std::int64_t> pages[2];  // Of F and S, by logical page.
  };

  static std::string captured(int layer) {
    const std::string table = layer == 2 ? "S.t" : "F.t";
    std::string rows;
    for (int row = 0; row < 3; ++row) {
      rows += (row == 0 ? "" : ",") + std::string(R"({"req":null,"row":)") + num(row) + '}';
    }
    return R"({"ev":"attention","backend":"t","layer":)" + num(layer) + R"(,"table":")" + table +
           R"(","lens":"l","rows":[)" + rows + "]}";
  }

  // Of a token of each request, whose slot stands at its row.
  static std::string captured_store(int layer) {
    std::string rows;
    for (int row = 0; row < 3; ++row) {
      rows +=
          (row == 0 ? "" : ",") + std::string(R"({"req":null,"row":)") + num(row) + R"(,"n":1})";
    }
    return R"({"ev":"store","backend":"t","layer":)" + num(layer) + R"(,"slots":")" +
           (layer == 2 ? "S" : "F") + R"(.t","unit":"slot","rows":[)" + rows + "]}";
  }
  static constexpr const char* kCapturedCopy =
      R"(,{"ev":"copy","from_pool":"F","to_pool":"F","req":"A","from":[3],"to":[4]})";

  static std::string num(std::int64_t n) { return std::to_string(n); }
  static constexpr const char* kPad = R"(,"reserved":[{"page":0,"role":"pad"}])";
  // Of so many pages of four tokens, or that many times more of one.
  std::int64_t pages(std::int64_t n) const { return tokens_ == 1 ? 3 * n : n; }
  std::string pool(const std::string& name, std::int64_t n, const std::string& more = "") const {
    return R"({"ev":"pool","pool":")" + name + R"(","pages":)" + num(pages(n)) +
           R"(,"page_size":)" + num(tokens_) + more + '}';
  }
  // Of four columns, too few where a lane begins at the second, or nothing is said.
  std::string buffer(const std::string& name) {
    return R"({"ev":"buffer","buffer":")" + name + '"' +
           (dice_.one_in(4) ? "" : R"(,"rows":4,"cols":)" + num(pages(dice_.one_in(6) ? 2 : 4))) +
           '}';
  }
  void add(std::string line) { lines_.push_back(std::move(line)); }
  static const char* pool_name(int s) { return s == 0 ? "F" : "S"; }
  std::string req_name(std::int64_t r) const { return std::string(1, static_cast<char>('A' + r)); }
  std::int64_t any_request() { return dice_.below(3); }
  std::int64_t any_page() { return 1 + dice_.below(pages(11)); }
  std::string of_req(const char* ev, int s, std::int64_t r, const std::string& rest) const {
    return std::string(R"({"ev":")") + ev + R"(","pool":")" + pool_name(s) + R"(","req":")" +
           req_name(r) + "\"," + rest + '}';
  }
  void cell(int s, std::int64_t row, std::int64_t col, std::int64_t page) {
    std::string tag;
    if (dice_.one_in(25)) tag = R"(,"unit":"block")";
    if (dice_.one_in(12)) tag = std::string(R"(,"space":")") + pool_name(dice_.one_in(4)) + '"';
    if (dice_.one_in(100)) tag = R"(,"space":"Z")";
    add(std::string(R"({"ev":"table","buffer":")") + pool_name(s) + R"(.t","row":)" + num(row) +
        R"(,"col":)" + num(col) + R"(,"pages":[)" + num(page) + ']' + tag + '}');
  }
  bool in_use(int s, std::int64_t page) const {
    return std::ranges::any_of(requests_, [&](const Request& r) {
      return std::ranges::find(r.pages[s], page) != r.pages[s].end();
    });
  }
  std::int64_t free_page(int s) {
    std::int64_t page = any_page();
    for (int i = 0; i < 30 && in_use(s, page); ++i) page = any_page();
    return page;
  }
  std::int64_t slot(std::int64_t r, int s, std::int64_t i) const {
    return requests_[r].pages[s][static_cast<std::size_t>(i / tokens_)] * tokens_ + i % tokens_;
  }
  // A request's lane of a store.
  std::string stored(std::int64_t r, int s, std::int64_t from, std::int64_t to) {
    std::string slots;
    for (std::int64_t i = from; i < to; ++i) {
      const std::int64_t at = slot(r, s, i);
      slots += (slots.empty() ? "" : ",") + num(at);
      if (dice_.one_in(40)) {
        slots += ',' + num(any_page() * tokens_) + ',' + num(at / tokens_ * tokens_);
      }
    }
    return R"({"req":")" + req_name(r) + R"(","slots":[)" + slots + "]}";
  }
  void store(const std::string& lanes, const char* layers, const std::string& more = "") {
    std::string unit = dice_.one_in(4) ? "" : R"(,"unit":"slot")";
    if (dice_.one_in(20)) unit += R"(,"negative":"wrap")";
    add(std::string(R"({"ev":"store","backend":"t","layers":)") + layers + R"(,"rows":[)" + lanes +
        ']' + more + unit + '}');
  }
  void tell_length(std::int64_t r) {
    add(R"({"ev":"lens","buffer":"l","values":[)" + num(requests_[r].len) + R"(],"row":)" + num(r) +
        '}');
  }

  // Each of some requests gets a token, stored and attended to by a graph, layer by layer; or more,
  // and all but the last before.
  void grow_by_graph() {
    std::string rows, slots[2];
    for (std::int64_t r = 0; r < 3; ++r) {
      const std::int64_t from = dice_.one_in(4) ? requests_[r].len : take_room(r);
      const std::int64_t last = requests_[r].len - 1;
      for (int s = 0; s < 2; ++s) {
        const std::int64_t at = from <= last ? slot(r, s, last) : dice_.one_in(4) ? -1 : 0;
        slots[s] += (r == 0 ? "" : ",") + num(at);
      }
      if (from > last) continue;
      if (from < last) {
        store(stored(r, 0, from, last), "[0,1]");
        store(stored(r, 1, from, last), "[2]");
      }
      tell_length(r);
      rows += (rows.empty() ? "" : ",") + std::string(R"({"req":")") + req_name(r) + R"(","row":)" +
              num(r) + '}';
    }
    for (int s = 0; s < 2; ++s) {
      add(std::string(R"({"ev":"slots","buffer":")") + pool_name(s) + R"(.t","values":[)" +
          slots[s] + R"(],"row":0})");
    }
    for (int i = 0; i == 0 || dice_.one_in(2); ++i) {
      if (i > 0 && dice_.one_in(2)) rows = R"({"req":"A","row":0},{"req":"C","row":2})";
      add(R"({"ev":"graph_launch","graph":"H","rows":[)" + rows + "]}");
    }
  }

  // Some requests get tokens that are stored a layer after another, each attended to behind that.
  void grow_by_layer() {
    std::string lanes[2], listed[2], lanes_of_list;
    std::int64_t n = 0;
    for (std::int64_t r = 0; r < 3; ++r) {
      if (dice_.one_in(3)) continue;
      const std::int64_t from = take_room(r), to = requests_[r].len;
      if (from == to) continue;
      const char* comma = n == 0 ? "" : ",";
      for (int s = 0; s < 2; ++s) {
        lanes[s] += comma + stored(r, s, from, to);
        for (std::int64_t i = from; i < to; ++i) {
          listed[s] += (listed[s].empty() ? "" : ",") + num(slot(r, s, i));
        }
      }
      lanes_of_list += comma + std::string(R"({"req":")") + req_name(r) + R"(","row":)" + num(n) +
                       R"(,"n":)" + num(to - from) + '}';
      n += to - from;
      tell_length(r);
    }
    if (n == 0) return;
    if (dice_.one_in(2)) {  // Padding.
      for (int s = 0; s < 2; ++s) {
        const std::int64_t elsewhere = dice_.one_in(12) ? any_page() * tokens_ : 0;
        const std::string at = num(dice_.one_in(3) ? -1 : elsewhere);
        lanes[s] += R"(,{"req":null,"slots":[)" + at + (dice_.one_in(3) ? ",0]}" : "]}");
        listed[s] += ',' + at;
      }
      lanes_of_list += R"(,{"req":null,"row":)" + num(n) + R"(,"n":1})";
    }
    const bool by_list = dice_.one_in(2);
    for (int s = 0; s < 2 && by_list; ++s) {
      add(std::string(R"({"ev":"slots","buffer":")") + pool_name(s) + R"(.t","values":[)" +
          listed[s] + R"(],"row":0})");
    }
    const std::string read = any_lanes();
    for (const char* layer : {"[0]", "[2]", "[1]", "[3]", "[0,1]", "[0]"}) {
      if (dice_.one_in(6)) continue;
      const int s = layer[1] == '2' ? 1 : 0;
      by_list ? store(lanes_of_list, layer, std::string(R"(,"slots":")") + pool_name(s) + ".t\"")
              : store(lanes[s], layer);
      if (dice_.one_in(4)) attend();
      if (!dice_.one_in(4)) attend(layer, read);
      if (dice_.one_in(12)) tell_length(any_request());
      if (dice_.one_in(20)) disturb(any_request());
    }
  }

  // A request gets some tokens: pages, cells, stores, its length.
  void grow(std::int64_t r) {
    const std::int64_t from = take_room(r);
    const std::int64_t to = requests_[r].len;
    store(stored(r, 0, from, to), dice_.one_in(12) ? "[0]" : "[0,1]");
    if (!dice_.one_in(12)) store(stored(r, 0, from, to), "[3]");
    if (!dice_.one_in(12)) store(stored(r, 1, from, to), "[2]");
    tell_length(r);
  }
  // A request that has nothing yet begins with another one's first page.
  void share_prefix(std::int64_t r) {
    Request& q = requests_[r];
    const std::int64_t other = any_request();
    if (q.len > 0 || other == r || requests_[other].len <= tokens_) return;
    for (int s = 0; s < 2; ++s) {
      const std::int64_t page = requests_[other].pages[s].front();
      q.pages[s] = {page};
      add(of_req("share", s, r, R"("pages":[)" + num(page) + R"(],"first":0)"));
      cell(s, r, 0, page);
    }
    q.len = tokens_;
  }

  // Pages and cells for more tokens; returns the length before.
  std::int64_t take_room(std::int64_t r) {
    if (dice_.one_in(3)) share_prefix(r);
    Request& q = requests_[r];
    const std::int64_t from = q.len;
    q.len = std::min<std::int64_t>(q.len + 1 + dice_.below(5), 12);
    for (int s = 0; s < 2; ++s) {
      while (static_cast<std::int64_t>(q.pages[s].size()) * tokens_ < q.len) {
        const auto logical = static_cast<std::int64_t>(q.pages[s].size());
        const std::int64_t page = free_page(s);
        q.pages[s].push_back(page);
        std::string first = R"(,"first":)" + num(dice_.one_in(8) ? dice_.below(4) : logical);
        if (dice_.one_in(6)) first.clear();
        add(of_req("alloc", s, r, R"("pages":[)" + num(page) + ']' + first));
        if (!dice_.one_in(20)) cell(s, r, logical, page);
        if (s == 1) map_page(q.pages[0].back(), page);
      }
    }
    return from;
  }
  // The map, if there is one, counts pages or first slots.
  void map_page(std::int64_t from, std::int64_t to) {
    const std::int64_t n = by_slot_ ? tokens_ : 1;
    add(R"({"ev":"map_set","map":"m","pairs":[[)" + num(from * n) + ',' + num(to * n) + "]]}");
  }
  void unmap_page(std::int64_t from) {
    add(R"({"ev":"map_clear","map":"m","from":[)" + num(from * (by_slot_ ? tokens_ : 1)) + "]}");
  }
  void declare_map() {
    by_slot_ = dice_.one_in(4);
    add(std::string(R"({"ev":"map","map":"m","from":")") + (dice_.one_in(5) ? "G" : "F") +
        R"(","to":"S","unit":")" + (by_slot_ ? "slot" : "page") + "\"}");
  }

  void attend() {
    if (dice_.one_in(4)) {
      add(R"({"ev":"graph_launch","graph":"G","rows":[{"req":"A","row":0},{"req":"B","row":1}]})");
      return;
    }
    const std::int64_t layer = dice_.below(4);
    attend(dice_.one_in(3) ? "[0,1]" : '[' + num(layer) + ']', any_lanes());
  }
  // The lanes of an attention, and what else it says.
  std::string any_lanes() {
    std::string rows, more;
    for (std::int64_t r = 0; r < 3; ++r) {
      if (requests_[r].len == 0 && !dice_.one_in(4)) continue;
      const std::int64_t row = dice_.one_in(20) ? dice_.below(3) : r;
      std::string lane = R"({"req":")" + req_name(r) + R"(","row":)" + num(row);
      if (dice_.one_in(6)) {
        lane += R"(,"len":)" + num(std::max<std::int64_t>(0, requests_[r].len - dice_.below(3)));
      }
      if (dice_.one_in(6)) lane += R"(,"q_len":2)";
      if (dice_.one_in(15)) lane += R"(,"first":1)";
      if (dice_.one_in(8)) {
        // Mostly where the new tokens are at hand, and pages hold those before alone.
        const bool behind = !dice_.one_in(3);
        const std::int64_t len = requests_[r].len;
        lane += R"(,"q_pos":)" + num(behind ? len : dice_.below(len + 1));
      }
      if (dice_.one_in(20)) lane += R"(,"n":)" + num(dice_.below(4));
      rows += (rows.empty() ? "" : ",") + lane + '}';
    }
    if (dice_.one_in(3)) more += R"(,"window":)" + num(1 + dice_.below(9));
    if (dice_.one_in(15)) more += R"(,"unit":"block")";
    if (dice_.one_in(15)) more += R"(,"space":"S")";
    if (dice_.one_in(4)) rows += (rows.empty() ? "" : ",") + std::string(R"({"req":null,"row":3})");
    const bool unbound = dice_.one_in(12);
    if (dice_.one_in(15) || unbound) more += R"(,"bound":{"pages":6})";
    if (unbound) more += R"(,"page_size":)" + num(tokens_);
    return std::string(R"(,"backend":")") + (unbound ? "unbound" : "t") + R"(","rows":[)" + rows +
           ']' + more;
  }
  void attend(const std::string& layers, const std::string& lanes) {
    add(R"({"ev":"attention","layers":)" + layers + R"(,"table":")" +
        (layers == "[2]" ? "S.t" : "F.t") + R"(","lens":"l")" + lanes + '}');
  }

  void finish(std::int64_t r) {
    for (int s = 0; s < 2; ++s) {
      for (std::int64_t page : requests_[r].pages[s]) {
        if (dice_.one_in(12)) continue;
        add(of_req("free", s, r, R"("pages":[)" + num(page) + ']'));
      }
    }
    if (!dice_.one_in(4)) {
      add(R"({"ev":"request","req":")" + req_name(r) + R"(","state":"finish"})");
    }
    requests_[r] = {};
  }

  // What engines do seldom, and what they should not do.
  void disturb(std::int64_t r) {
    Request& q = requests_[r];
    const int s = static_cast<int>(dice_.below(2));
    const auto n = static_cast<std::int64_t>(q.pages[s].size());
    const std::int64_t at = n == 0 ? 0 : dice_.below(n);
    const std::int64_t own = n == 0 ? any_page() : q.pages[s][static_cast<std::size_t>(at)];
    switch (dice_.below(17)) {
      case 0:
        return cell(s, r, at, any_page());
      case 1:
        return cell(s, r, at, own);
      case 2:
        return add(of_req("free", s, r, R"("pages":[)" + num(own) + ']'));
      case 3:
        return add(of_req("evict", s, r, R"("logical":)" + num(at) + R"(,"page":)" + num(own)));
      case 4:
        return add(of_req("rewind", s, r, R"("len":)" + num(dice_.below(q.len + 1))));
      case 5:
        return map_page(any_page(), dice_.one_in(3) ? 0 : any_page());
      case 6:
        return unmap_page(any_page());
      case 7: {
        const std::string first = dice_.one_in(2) ? "" : R"(,"first":)" + num(dice_.below(3));
        return add(of_req("share", s, any_request(), R"("pages":[)" + num(own) + ']' + first));
      }
      case 8: {
        const std::string first = dice_.one_in(2) ? "" : R"(,"first":)" + num(dice_.below(3));
        return add(
            of_req("alloc", s, r, R"("pages":[)" + num(dice_.below(pages(13))) + ']' + first));
      }
      case 9:
        return add(
            of_req("fill", s, r,
                   R"("pages":[)" + num(own) + R"(],"slots":[)" + num(dice_.below(5)) + ']'));
      case 10:
        return add(R"({"ev":"copy","from_pool":"F","to_pool":"F","req":")" + req_name(r) +
                   R"(","from":[)" + num(any_page()) + R"(],"to":[)" + num(own) + "]}");
      case 11:
        return in_other_pools(r, own);
      case 12:  // The map moves for a page that is nobody's, or no longer this request's.
        add(of_req("free", 0, r, R"("pages":[)" + num(own) + ']'));
        if (dice_.one_in(2))
          add(of_req("alloc", 0, any_request(), R"("pages":[)" + num(own) + ']'));
        if (!dice_.one_in(3)) attend();
        return dice_.one_in(2) ? unmap_page(own) : map_page(own, any_page());
      case 13:  // One page at two columns.
        return add(of_req("share", s, r,
                          R"("pages":[)" + num(own) + R"(],"first":)" + num(dice_.below(3))));
      default:
        return rare(s, own);
    }
  }
  // E has the owners of F and extents of its own; G is where a map may lead from.
  void in_other_pools(std::int64_t r, std::int64_t page) {
    const std::string req = R"("req":")" + req_name(r) + '"';
    const std::string of_e = R"(,"pool":"E",)" + req;
    const std::string pages = R"(,"pages":[)" + num(dice_.one_in(4) ? 0 : page) + ']';
    switch (dice_.below(6)) {
      case 0:
        return add(R"({"ev":"alloc")" + of_e + pages + R"(,"first":)" + num(dice_.below(3)) + '}');
      case 1:
        return add(R"({"ev":"fill")" + of_e + pages + '}');
      case 2:
        return add(R"({"ev":"rewind")" + of_e + R"(,"len":)" + num(dice_.below(9)) + '}');
      case 3:
        return add(R"({"ev":"free","pool":"G",)" + req + pages + '}');
      default:
        return add(R"({"ev":"alloc","pool":"G",)" + req + pages + R"(,"first":)" +
                   num(dice_.below(3)) + '}');
    }
  }
  void rare(int s, std::int64_t page) {
    if (!dice_.one_in(3)) return;
    switch (dice_.below(8)) {
      case 0:
        return add(buffer("F.t"));
      case 1:
        return add(pool("S", 9));
      case 2:
        return declare_map();
      case 3:
        return add(dice_.one_in(2) ? R"({"ev":"gap","why":"lost"})"
                                   : R"({"ev":"gap","why":"lost","pools":["F"]})");
      case 4:
        return add(std::string(R"({"ev":"async_begin","op":"o","kind":"write","pool":")") +
                   pool_name(s) + R"(","pages":[)" + num(page) + R"(],"by":"nic"})");
      case 5:
        return add(R"({"ev":"async_end","op":"o"})");
      case 6:  // A name that stood for a space stands for a pool of another from here on.
        return add(pool("Z", 9, R"(,"space":"S")"));
      default:
        return add(
            pool("F", 14, R"(,"page_bytes":100,"offset_bits":)" + num(tokens_ == 1 ? 12 : 10)));
    }
  }

  void step() {
    const std::int64_t r = any_request();
    const std::int64_t what = dice_.below(20);
    if (what < 2) return grow_by_layer();
    if (what == 2) return grow_by_graph();
    if (what < 6) return grow(r);
    if (what < 16) return attend();
    if (what == 16) return finish(r);
    disturb(r);
  }

  Dice dice_;
  const std::int64_t tokens_ = dice_.one_in(3) ? 1 : 4;
  bool by_slot_ = false;
  Lines lines_;
  Request requests_[3];
};

}  // namespace pagetape
