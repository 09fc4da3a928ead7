// SPDX-License-Identifier: Apache-2.0
#include "verify/assert_traces.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <thread>

#include "verify/report.h"

namespace pagetape {
namespace {

std::string object_of(const NotChecked& n, const Names& names) {
  std::string out(n.object == kNone ? "the trace" : names.text(n.object));
  if (n.rank != INT64_MIN) out += " (rank " + std::to_string(n.rank) + ')';
  return out;
}

Problem of_finding(const Finding& f, const Names& names) {
  Problem p;
  p.rule = f.rule;
  p.id = f.id(names);
  p.place = place_of(f, names);
  p.message = f.message;
  p.event = f.event;
  p.cause = f.cause;
  return p;
}

Problem of_missing(const NotChecked& n, const Names& names) {
  Problem p;
  p.kind = Problem::Kind::kNotChecked;
  p.rule = n.rule;
  p.id = std::string(info(n.rule).name) + "!" + object_of(n, names);
  p.message = "not checked: " + std::string(info(n.rule).name) + " of " + object_of(n, names) +
              " (needs " + n.needs + ")";
  return p;
}

// Of a file that is damaged or in error. Where none of it could be read, it has no event.
Problem of_status(const Report& r) {
  Problem p;
  const bool damaged = r.status.code() == Code::kDamaged;
  p.kind = damaged ? Problem::Kind::kDamaged : Problem::Kind::kUnreadable;
  p.id = p.title();
  p.message = r.status.message();
  if (damaged && r.total == 0) {
    p.message += "; no finding in " + grouped(r.events) + " events that could be judged";
  }
  if (r.events > 0) p.event = r.status_event;
  return p;
}

void add_rules(const Report& r, TraceResult& out) {
  for (std::size_t i = 0; i < kRuleCount; ++i) {
    out.rules[i].judged = r.judged[i];
    out.rules[i].findings = r.counts[i];
    out.rules[i].failed = r.counts[i] > 0;
  }
  for (const NotChecked& n : r.not_checked) {
    if (!n.applicable) continue;
    std::string& text = out.rules[static_cast<std::size_t>(n.rule)].not_checked;
    text += (text.empty() ? "" : ", ") + object_of(n, *r.names);
  }
  for (std::size_t i = 0; i < kRuleCount; ++i) {
    std::string& text = out.rules[i].not_checked;
    if (!text.empty()) text += " (needs " + std::string(kRules[i].needs) + ')';
  }
  for (const NotChecked& n : r.missing) out.rules[static_cast<std::size_t>(n.rule)].failed = true;
}

// Where a text trace holds the events. A pipe cannot be read again.
void add_lines(const std::string& trace, std::vector<Problem>& problems) {
  if (problems.empty() || !std::filesystem::is_regular_file(trace)) return;
  Names names;
  Status status;
  const std::unique_ptr<Source> source = open_trace(trace, names, status);
  Event event;
  std::vector<Problem*> in_order;
  for (Problem& p : problems) {
    if (p.event != kNever) in_order.push_back(&p);
  }
  std::ranges::stable_sort(in_order, {}, &Problem::event);
  for (Problem* p : in_order) {
    while (source != nullptr && source->position() <= p->event && source->next(event)) {
      if (source->place() == trace) return;  // A binary trace.
    }
    if (source == nullptr || source->position() != p->event + 1) return;
    p->line = std::stoull(source->place().substr(trace.size() + 1));
  }
}

TraceResult assert_trace(const std::string& trace, const VerifyOptions& options) {
  const Report r = verify_trace(trace, options);
  TraceResult out;
  out.trace = trace;
  out.exit_code = r.exit_code();
  out.events = r.events;
  out.launches = r.launches;
  out.total = r.total;
  out.warnings = r.warnings;
  for (const Finding& f : r.findings) out.problems.push_back(of_finding(f, *r.names));
  std::vector<Problem> others;
  for (const NotChecked& n : r.missing) others.push_back(of_missing(n, *r.names));
  if (!r.status.ok()) others.push_back(of_status(r));
  for (const Finding& f : r.firsts) {
    Problem& first = out.firsts.emplace_back(of_finding(f, *r.names));
    first.of_rule = r.counts[static_cast<std::size_t>(f.rule)];
  }
  for (std::vector<Problem>* list : {&out.problems, &out.firsts}) {
    list->insert(list->end(), others.begin(), others.end());
    add_lines(trace, *list);
  }
  add_rules(r, out);
  return out;
}

}  // namespace

std::string_view Problem::title() const {
  switch (kind) {
    case Kind::kDamaged:
      return "DAMAGED";
    case Kind::kUnreadable:
      return "UNREADABLE";
    default:
      return info(rule).name;
  }
}

std::vector<TraceResult> assert_traces(const std::vector<std::string>& traces,
                                       const VerifyOptions& options, unsigned jobs) {
  if (jobs == 0) jobs = std::max(1U, std::thread::hardware_concurrency());
  std::vector<TraceResult> out(traces.size());
  std::atomic<std::size_t> next = 0;
  // Threads that are not needed for traces share the parts of one.
  VerifyOptions each = options;
  each.jobs = static_cast<unsigned>(jobs / std::clamp<std::size_t>(traces.size(), 1, jobs));
  const auto work = [&] {
    for (std::size_t i = next++; i < traces.size(); i = next++) {
      out[i] = assert_trace(traces[i], each);
    }
  };
  std::vector<std::jthread> threads;
  while (threads.size() + 1 < std::min<std::size_t>(jobs, traces.size())) {
    threads.emplace_back(work);
  }
  work();
  threads.clear();  // Waits for them.
  return out;
}

int exit_code(const std::vector<TraceResult>& results) {
  constexpr int kWeight[] = {0, 2, 3, 1};
  int worst = 0;
  for (const TraceResult& r : results) {
    if (kWeight[r.exit_code] > kWeight[worst]) worst = r.exit_code;
  }
  return worst;
}

std::string_view outcome(const TraceResult& result) {
  constexpr std::string_view kOutcomeNames[] = {"ok", "FAILED", "ERROR", "DAMAGED"};
  return kOutcomeNames[result.exit_code];
}

// What is wrong with the file, after its name.
static std::string without_name(const std::string& message, const std::string& trace) {
  return message.starts_with(trace + ": ") ? message.substr(trace.size() + 2) : message;
}

// What a clean trace held. Where nothing was judged that is said, too.
static std::string judged_in_words(const TraceResult& r) {
  const bool nothing =
      std::ranges::all_of(r.rules, [](const auto& rule) { return rule.judged == 0; });
  return std::to_string(r.events) + (r.events == 1 ? " event, " : " events, ") +
         std::to_string(r.launches) + (r.launches == 1 ? " launch" : " launches") +
         (nothing ? ": nothing to judge" : "");
}

std::string assert_lines(const std::vector<TraceResult>& results) {
  std::string out;
  for (const TraceResult& r : results) {
    std::string line(outcome(r));
    line.resize(8, ' ');
    line += r.trace + ": ";
    std::string missing, file;
    for (const Problem& p : r.firsts) {
      if (p.kind == Problem::Kind::kNotChecked) {
        missing += (missing.empty() ? "" : "; ") + p.message;
      } else if (p.kind != Problem::Kind::kFinding) {
        file = without_name(p.message, r.trace);
      }
    }
    if (r.total > 0) {
      const Problem& first = r.problems.front();
      line += std::to_string(r.total) + (r.total == 1 ? " finding, " : " findings, ") +
              "the first " + first.id + " (" + first.message + ")";
      if (!file.empty()) line += "; besides, " + file;
    } else if (!missing.empty()) {
      line += missing + (file.empty() ? "" : "; besides, " + file);
    } else if (!file.empty()) {
      line += file;
    } else {
      line += judged_in_words(r);
    }
    out += line + '\n';
  }
  return out;
}

}  // namespace pagetape
