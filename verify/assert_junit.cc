// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "verify/assert_traces.h"

namespace pagetape {
namespace {

// A name of a binary trace need not be UTF-8; what is not becomes U+FFFD.
std::string utf8(const std::string& text) {
  using Json = nlohmann::json;
  return Json::parse(Json(text).dump(-1, ' ', false, Json::error_handler_t::replace))
      .get<std::string>();
}

// Text for an attribute or an element. XML 1.0 has no way to say most control characters, nor
// U+FFFE and U+FFFF.
std::string xml(const std::string& text) {
  constexpr const char* kReplacement = "\xEF\xBF\xBD";
  const std::string valid = utf8(text);
  std::string out;
  for (std::size_t i = 0; i < valid.size(); ++i) {
    const char c = valid[i];
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\n':  // As a character it would become a space in an attribute.
        out += "&#10;";
        break;
      case '\t':
        out += "&#9;";
        break;
      case '\r':
        out += "&#13;";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += kReplacement;
        } else if (valid.compare(i, 3, "\xEF\xBF\xBE") == 0 ||
                   valid.compare(i, 3, "\xEF\xBF\xBF") == 0) {
          out += kReplacement;
          i += 2;
        } else {
          out += c;
        }
    }
  }
  return out;
}

std::string attribute(const char* name, const std::string& value) {
  return std::string(" ") + name + "=\"" + xml(value) + '"';
}

struct Counts {
  std::size_t tests = 0, failures = 0, errors = 0, skipped = 0;
  std::string attributes() const {
    const auto n = [](const char* name, std::size_t v) {
      return attribute(name, std::to_string(v));
    };
    return n("tests", tests) + n("failures", failures) + n("errors", errors) +
           n("skipped", skipped);
  }
};

std::string test_case(const std::string& trace, const std::string& name, const std::string& body) {
  std::string out = "    <testcase" + attribute("classname", trace) + attribute("name", name) +
                    attribute("file", trace);
  return out + (body.empty() ? "/>\n" : ">\n" + body + "    </testcase>\n");
}

std::string element(const char* name, const std::string& message, const std::string& text) {
  return std::string("      <") + name + attribute("message", message) +
         (text.empty() ? "/>\n" : '>' + xml(text) + "</" + name + ">\n");
}

// Its findings, a line each; the message says the first of them, or what was not checked.
std::string rule_body(const TraceResult& r, Rule rule, Counts& counts) {
  const RuleResult& result = r.rules[static_cast<std::size_t>(rule)];
  std::string message, text;
  for (const Problem& p : r.firsts) {
    if (p.rule == rule && p.kind == Problem::Kind::kFinding) {
      message = std::to_string(p.of_rule) + (p.of_rule == 1 ? " finding" : " findings") +
                "; the first: " + p.sentence();
    } else if (p.rule == rule && p.kind == Problem::Kind::kNotChecked) {
      message += (message.empty() ? "" : "; ") + p.message;
    }
  }
  for (const Problem& p : r.problems) {
    if (p.rule == rule && p.kind == Problem::Kind::kFinding) text += p.sentence() + '\n';
  }
  if (result.failed) {
    ++counts.failures;
    return element("failure", message, text);
  }
  if (result.judged > 0) return {};
  ++counts.skipped;
  return element("skipped",
                 result.not_checked.empty() ? "not applicable: nothing to judge"
                                            : "not checked: " + result.not_checked,
                 "");
}

std::string suite(const TraceResult& r, Counts& all) {
  Counts counts{.tests = kRuleCount + 1};
  std::string cases, file;
  for (const Problem& p : r.firsts) {
    if (p.kind != Problem::Kind::kDamaged && p.kind != Problem::Kind::kUnreadable) continue;
    ++counts.errors;
    file += element("error", p.message, "");
  }
  cases += test_case(r.trace, "READABLE", file);
  for (const RuleInfo& rule : kRules) {
    cases += test_case(r.trace, std::string(rule.name), rule_body(r, rule.rule, counts));
  }
  all.tests += counts.tests;
  all.failures += counts.failures;
  all.errors += counts.errors;
  all.skipped += counts.skipped;
  return "  <testsuite" + attribute("name", r.trace) + counts.attributes() + ">\n" + cases +
         "  </testsuite>\n";
}

}  // namespace

std::string assert_junit(const std::vector<TraceResult>& results) {
  Counts all;
  std::string suites;
  for (const TraceResult& r : results) suites += suite(r, all);
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites" +
         attribute("name", "pagetape assert") + all.attributes() + ">\n" + suites +
         "</testsuites>\n";
}

}  // namespace pagetape
