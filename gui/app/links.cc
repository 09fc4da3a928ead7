// SPDX-License-Identifier: Apache-2.0
#include "gui/app/links.h"

#include <algorithm>
#include <vector>

namespace pagetape {
namespace {

// A word, and what stands round it: spaces and an opening sign before, punctuation behind.
struct Word {
  std::string_view before, text, behind;
};

std::vector<Word> words_of(std::string_view sentence) {
  std::vector<Word> out;
  for (std::size_t at = 0; at < sentence.size();) {
    const std::size_t begin = std::min(sentence.find_first_not_of(" (", at), sentence.size());
    const std::size_t end = std::min(sentence.find(' ', begin), sentence.size());
    std::size_t last = end;
    while (last > begin && std::string_view(",.:;)").find(sentence[last - 1]) != sentence.npos) {
      --last;
    }
    out.push_back({.before = sentence.substr(at, begin - at),
                   .text = sentence.substr(begin, last - begin),
                   .behind = sentence.substr(last, end - last)});
    at = end;
  }
  return out;
}

// Its digits; empty where it is no number. Thousands may be apart: "1,234".
std::string number(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == ',') continue;
    if (c < '0' || c > '9') return "";
    out += c;
  }
  return out;
}

// The pool of which pages are named here: "of pool F", "of 8 in pool F".
std::string_view pool_behind(const std::vector<Word>& words, std::size_t at) {
  for (; at + 1 < words.size(); ++at) {
    if (words[at].text == "pool") return words[at + 1].text;
    if (words[at].behind.find(':') != std::string_view::npos) break;
  }
  return "";
}

class Linker {
 public:
  Linker(const std::vector<Word>& words, const Names& names) : words_(words), names_(names) {}

  // What a click on a word runs; empty: nothing.
  std::string command(std::size_t at) {
    const std::string_view text = words_[at].text;
    const std::string_view before = at == 0 ? "" : words_[at - 1].text;
    const std::string digits = number(text);
    in_list_ = !digits.empty() && (before == "page" || before == "pages" ||
                                   (in_list_ && words_[at - 1].behind == ","));
    if (in_list_) {
      const std::string_view pool = pool_behind(words_, at + 1);
      return pool.empty() ? "" : "blame " + std::string(pool) + ':' + digits;
    }
    if (text.empty()) return "";
    if (before == "event") return digits.empty() ? "" : "goto " + digits;
    if (names_.find(text) == kNone) return "";
    const bool is_thing = before == "pool" || before == "backend" || before == "graph";
    if (is_thing) return "declared " + std::string(text);
    constexpr std::string_view kDone[] = {"shared", "freed", "written", "reused"};
    const std::string_view first = at < 2 ? "" : words_[at - 2].text;
    const bool is_request = before == "request" || before == "owner" ||
                            (first == "given" && before == "to") ||
                            (first == "belongs" && before == "to") ||
                            (before == "by" && std::ranges::find(kDone, first) != std::end(kDone));
    return is_request ? "request " + std::string(text) : "";
  }

 private:
  const std::vector<Word>& words_;
  const Names& names_;
  bool in_list_ = false;  // Of pages.
};

}  // namespace

Line linked(std::string_view sentence, const Names& names, Tone tone) {
  const std::vector<Word> words = words_of(sentence);
  Linker linker(words, names);
  Line out;
  std::string plain;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const Word& word = words[i];
    plain += word.before;
    std::string command = linker.command(i);
    if (command.empty()) {
      plain += word.text;
    } else {
      if (!plain.empty()) out.push_back({std::move(plain), tone});
      plain.clear();
      out.push_back({std::string(word.text), tone, std::move(command)});
    }
    plain += word.behind;
  }
  if (!plain.empty()) out.push_back({std::move(plain), tone});
  return out;
}

}  // namespace pagetape
