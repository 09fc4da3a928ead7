// SPDX-License-Identifier: Apache-2.0
#include "capture/sim/engine.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "capture/sim/setup.h"

namespace pagetape::sim {
namespace {

// Of the virtual clock; about what a B200 takes.
constexpr std::int64_t kDecodeNs = 20'000'000, kPrefillTokenNs = 25'000;
constexpr int kConcurrencyMax = 4096;          // Lanes of the largest graph.
constexpr std::int64_t kFreeCountEvery = 256;  // Steps.

// Chances, in percent, that a drafted token is accepted: an accept length of 2.1, or of 1.7 where
// the draft reads another's K and V (the lengths seen with and without the defect).
constexpr int kAcceptRight = 58, kAcceptWrong = 42;

}  // namespace

std::string complete(Config& config) {
  const Model& model = *config.model;
  if (config.requests == 0) config.requests = model.requests;
  if (config.concurrency == 0) config.concurrency = model.concurrency;
  if (config.prompt_tokens == 0) config.prompt_tokens = model.prompt_tokens;
  if (config.output_tokens == 0) config.output_tokens = model.output_tokens;
  config.concurrency = std::min(config.concurrency, config.requests);
  if (config.concurrency > kConcurrencyMax) {
    return format("at most %d requests can run at a time", kConcurrencyMax);
  }
  const std::int64_t most = config.prompt_tokens + config.output_tokens + kDraftTokens;
  const std::int64_t room =
      1LL * model.page_size *
      std::min({model.context_pages, model.full_pages - 1, model.swa_pages - 1});
  if (config.prompt_tokens <= model.odd_prompts_shorter) {
    return format("a prompt needs more than %d tokens", model.odd_prompts_shorter);
  }
  if (most > room) {
    return format("a request of %lld tokens does not fit: %s has room for %lld",
                  static_cast<long long>(most), std::string(model.name).c_str(),
                  static_cast<long long>(room));
  }
  return {};
}

Engine::Engine(const Config& config, ptape_recorder* recorder)
    : config_(config),
      model_(*config.model),
      tape_(recorder, config.live),
      random_(config.seed),
      allocator_(model_.full_pages, model_.swa_pages),
      tables_(tape_, config_),
      draft_(tape_, config_, tables_),
      target_(tape_, config_),
      cache_(tape_, model_),
      planter_(tape_, config_) {}

bool Engine::run() {
  write_setup(tape_, config_);
  draft_.capture();
  while (!tape_.failed() && (config_.steps == 0 || step_ < config_.steps)) {
    arrive();
    if (prefilling_ != nullptr || admit()) {
      prefill();
    } else if (!running_.empty()) {
      decode();
    } else {
      break;
    }
    if (step_ % kFreeCountEvery == 0) {
      tape_.json(
          format(R"({"ev":"free_count","pool":"F","free":%d})", allocator_.full().available()));
      tape_.json(
          format(R"({"ev":"free_count","pool":"S","free":%d})", allocator_.swa().available()));
    }
  }
  complete_step();
  return !tape_.failed();
}

// The step before this one has run meanwhile, as on a device.
void Engine::complete_step() {
  if (!config_.live) return;
  if (config_.pace > 0 && step_ > 0) {
    std::this_thread::sleep_for(std::chrono::duration<double>(1 / config_.pace));
  }
  tape_.keep(ptape_launch_done(tape_.recorder(), tape_.at(), ptape_last_launch(tape_.recorder())));
}

void Engine::begin_step(ptape_name mode, std::size_t batch, std::int64_t ns) {
  complete_step();
  tape_.advance(ns);
  tape_.keep(
      ptape_step(tape_.recorder(), tape_.at(), step_++, mode, static_cast<std::int64_t>(batch)));
}

// --- scheduling ---

// Keeps as many requests in the engine as may run at a time.
void Engine::arrive() {
  while (next_id_ < config_.requests &&
         running_.size() + waiting_.size() < static_cast<std::size_t>(config_.concurrency)) {
    auto request = std::make_unique<Request>();
    request->id = next_id_++;
    request->name = tape_.name(format("r%lld", static_cast<long long>(request->id)));
    request->prompt =
        config_.prompt_tokens - (request->id % 2 == 1 ? model_.odd_prompts_shorter : 0);
    request->end = request->prompt + config_.output_tokens;
    request->prefill_to = request->prompt;
    if (request->id % 4 == 1 || request->id % 4 == 2) {
      request->system_prompt = static_cast<int>(request->id / 4 % kSystemPrompts);
    }
    tape_.keep(ptape_request(tape_.recorder(), tape_.at(), request->name, tape_.arrive));
    waiting_.push_back(std::move(request));
  }
}

// Starts the prompt of the next request, if its pages are to be had and some are left for the
// lanes that decode.
bool Engine::admit() {
  if (waiting_.empty()) return false;
  Request& next = *waiting_.front();
  const auto pages =
      static_cast<std::int32_t>(pages_for(next.prefill_to + kDraftTokens, model_.page_size));
  if (!room_for(pages, 2 * static_cast<std::int32_t>(running_.size())) && !running_.empty()) {
    return false;
  }
  int lane = 0;
  auto at = running_.begin();
  for (; at != running_.end() && (*at)->lane == lane; ++at) ++lane;
  next.lane = lane;
  tape_.keep(
      ptape_request(tape_.recorder(), tape_.at(), next.name, next.ran ? tape_.resume : tape_.run));
  next.ran = true;
  cache_.hit(next);
  next.len = std::int64_t{next.shared_pages} * model_.page_size;
  next.prompt_next = cache_.pages_of(next);  // These are not taken back.
  next.output_next = static_cast<std::int32_t>(next.prompt / model_.page_size);
  prefilling_ = running_.insert(at, std::move(waiting_.front()))->get();
  waiting_.pop_front();
  tables_.write(*prefilling_, 0);
  decodes_ = 0;
  return true;
}

// One chunk of the prompt; after the last, the first draft.
void Engine::prefill() {
  Request& request = *prefilling_;
  const std::int64_t begin = request.len;
  const std::int64_t end = std::min<std::int64_t>(request.prefill_to, begin + model_.chunk_tokens);
  begin_step(tape_.extend, 1, (end - begin) * kPrefillTokenNs);
  if (!grow(request, end)) {
    preempt_last();
    return;
  }
  fill(request, begin, end);
  target_.extend(request, begin, end);
  request.len = end;
  if (end < request.prefill_to) return;
  prefilling_ = nullptr;
  cache_.publish(request);
  draft_.seed(request);
}

Engine::RequestPtr Engine::take(Request* request) {
  const auto at = std::find_if(running_.begin(), running_.end(),
                               [&](const RequestPtr& one) { return one.get() == request; });
  RequestPtr taken = std::move(*at);
  running_.erase(at);
  if (prefilling_ == request) prefilling_ = nullptr;
  decodes_ = 0;
  return taken;
}

void Engine::leave(Request* request, ptape_name state) {
  const RequestPtr taken = take(request);
  free_pages(*taken);
  tables_.release(*taken);
  tape_.keep(ptape_request(tape_.recorder(), tape_.at(), taken->name, state));
}

// The youngest gives up its pages and comes again, with all its tokens as the prompt.
void Engine::preempt_last() {
  ++preemptions_;
  planter_.cancel();
  Request* last =
      std::max_element(running_.begin(), running_.end(),
                       [](const RequestPtr& a, const RequestPtr& b) { return a->id < b->id; })
          ->get();
  last->prefill_to = std::max(last->prefill_to, last->len);
  RequestPtr taken = take(last);
  free_pages(*taken);
  tables_.release(*taken);
  tape_.keep(ptape_request(tape_.recorder(), tape_.at(), taken->name, tape_.preempt));
  taken->full.clear();
  taken->swa.clear();
  taken->shared_pages = taken->prompt_next = taken->output_next = 0;
  taken->len = 0;
  taken->lane = -1;
  waiting_.push_front(std::move(taken));
}

// SWA pages go through the map, where a page has one still; then the map's entries and the full
// pages. What the prefix cache owns too stays with it.
void Engine::free_pages(Request& request) {
  if (request.full.empty()) return;
  shrink(request, 0);
  free_group();
  cache_.leave(request);
}

void Engine::free_group() {
  allocator_.free(freed_);
  freed_.clear();
}

// Gives back the pages behind the one that holds the last of so many tokens, for the allocator to
// take with others as one free_group.
void Engine::shrink(Request& request, std::int64_t tokens) {
  const auto keep = static_cast<std::size_t>(pages_for(tokens, model_.page_size));
  const std::size_t pages = request.full.size();
  if (keep >= pages) return;
  const std::vector<std::int64_t> from(request.full.begin() + static_cast<std::ptrdiff_t>(keep),
                                       request.full.end());
  std::string list;
  std::vector<std::int64_t> unmapped;
  cells_.clear();
  for (std::size_t i = keep; i < pages; ++i) {
    list += (list.empty() ? "" : ",") + std::to_string(request.full[i]);
    if (request.full[i] != request.freed_early) cells_.push_back(request.full[i]);
    if (i < static_cast<std::size_t>(request.shared_pages)) continue;
    if (request.swa[i] != 0) unmapped.push_back(request.full[i]);
    freed_.push_back(request.full[i]);
  }
  tape_.json(
      format(R"({"ev":"map_free","map":"F>S","req":"r%lld","from":[%s],"skip_unmapped":true})",
             static_cast<long long>(request.id), list.c_str()));
  if (!unmapped.empty()) {
    tape_.keep(
        ptape_map_clear(tape_.recorder(), tape_.at(), tape_.map, unmapped.data(), unmapped.size()));
  }
  tape_.free(tape_.full, request.name, cells_);
  request.full.resize(keep);
  request.swa.resize(keep);
}

// --- pages ---

// Logical pages that no later launch of the request reads.
std::int64_t Engine::out_of_window(const Request& request) const {
  return std::max<std::int64_t>(request.len - model_.window, 0) / model_.page_size;
}

// Whether so many pages are free or can be taken back, and `spare` beside them.
bool Engine::room_for(std::int32_t pages, std::int32_t spare) {
  std::int64_t free = allocator_.swa().available();
  for (const RequestPtr& request : running_) {
    const std::int64_t limit = out_of_window(*request);
    const std::int64_t prompt = std::min<std::int64_t>(limit, request->prompt / model_.page_size);
    free += std::max<std::int64_t>(prompt - request->prompt_next, 0) +
            std::max<std::int64_t>(limit - request->output_next, 0);
  }
  return pages + spare <= std::min<std::int64_t>(free, allocator_.full().available());
}

void Engine::evict(Request& request, std::int32_t logical) {
  const auto i = static_cast<std::size_t>(logical);
  const std::int64_t from = request.full[i];
  tape_.keep(
      ptape_evict(tape_.recorder(), tape_.at(), tape_.swa, request.name, logical, request.swa[i]));
  tape_.keep(ptape_map_clear(tape_.recorder(), tape_.at(), tape_.map, &from, 1));
  allocator_.free_swa(request.full[i]);
  request.swa[i] = 0;
  tables_.clear_swa(request, logical);
}

// The prompt's pages are protected until the pool is dry; the output's go a page after the window
// has left them.
void Engine::evict_outputs(Request& request) {
  while (request.output_next < out_of_window(request) - 1) evict(request, request.output_next++);
}

bool Engine::take_back_one(Request& request, std::int64_t limit) {
  if (request.prompt_next < std::min<std::int64_t>(limit, request.prompt / model_.page_size)) {
    evict(request, request.prompt_next++);
    return true;
  }
  if (request.output_next < limit) {
    evict(request, request.output_next++);
    return true;
  }
  return false;
}

// The SWA pool is dry: pages that have left the window come back, the prompts' too.
bool Engine::take_back(std::int32_t pages) {
  for (const RequestPtr& request : running_) {
    const std::int64_t limit = out_of_window(*request);
    while (allocator_.swa().available() < pages && take_back_one(*request, limit)) {
    }
  }
  while (allocator_.swa().available() < pages && cache_.drop_unused(allocator_)) {
  }
  return allocator_.swa().available() >= pages;
}

// Pages for so many tokens. False where there are none left to be had.
bool Engine::grow(Request& request, std::int64_t tokens) {
  const std::size_t had = request.full.size();
  const auto need = static_cast<std::int32_t>(pages_for(tokens, model_.page_size) -
                                              static_cast<std::int64_t>(had));
  if (need <= 0) return true;
  while (allocator_.full().available() < need && cache_.drop_unused(allocator_)) {
  }
  if (!take_back(need) || !allocator_.alloc(need, request.full, request.swa)) return false;
  const auto first = static_cast<std::int64_t>(had);
  tape_.alloc(tape_.full, request.name, Tape::Pages(request.full).subspan(had), first);
  tape_.alloc(tape_.swa, request.name, Tape::Pages(request.swa).subspan(had), first);
  std::vector<std::int64_t> pairs;
  for (std::size_t i = had; i < request.full.size(); ++i) {
    pairs.insert(pairs.end(), {request.full[i], request.swa[i]});
  }
  tape_.keep(
      ptape_map_set(tape_.recorder(), tape_.at(), tape_.map, pairs.data(), pairs.size() / 2));
  tables_.write(request, first);
  return true;
}

// --- steps ---

void Engine::fill(const Request& request, bool swa, std::size_t first, std::size_t end,
                  std::int64_t tokens, bool digest) {
  if (first >= end) return;
  const PageList& pages = swa ? request.swa : request.full;
  std::string more;
  if (digest) {
    for (std::size_t i = first; i < end; ++i) {
      more += (more.empty() ? "" : ",") +
              ('"' + PrefixCache::key(request, static_cast<std::int32_t>(i)) + '"');
    }
    more = R"(,"digest":[)" + more + ']';
  } else if (tokens < static_cast<std::int64_t>(end) * model_.page_size) {
    for (std::size_t i = first; i < end; ++i) {
      const std::int64_t slots = tokens - static_cast<std::int64_t>(i) * model_.page_size;
      more += (more.empty() ? "" : ",") +
              std::to_string(std::min<std::int64_t>(slots, model_.page_size));
    }
    more = R"(,"slots":[)" + more + ']';
  }
  tape_.json(format(R"({"ev":"fill","pool":"%s","req":"r%lld","pages":[%s]%s})", swa ? "S" : "F",
                    static_cast<long long>(request.id),
                    joined(Tape::Pages(pages).subspan(first, end - first)).c_str(), more.c_str()));
}

// A chunk's K and V of all layers are written: one `fill` a pool says in a few numbers what stores
// would say slot by slot. Pages that may be published carry a digest.
void Engine::fill(const Request& request, std::int64_t begin, std::int64_t end) {
  const auto first = static_cast<std::size_t>(begin / model_.page_size);
  const auto last = static_cast<std::size_t>(pages_for(end, model_.page_size));
  const auto keyed = std::clamp(static_cast<std::size_t>(cache_.pages_of(request)), first, last);
  for (const bool swa : {false, true}) {
    fill(request, swa, first, keyed, end, true);
    fill(request, swa, keyed, last, end, false);
  }
}

// How many drafted tokens each lane will accept, before it is known to them.
void Engine::draw_accepted() {
  for (const RequestPtr& request : running_) {
    const int chance = draft_.reads_right(*request) ? kAcceptRight : kAcceptWrong;
    request->accepted = 0;
    while (request->accepted < kDraftTokens - 1 && random_.percent(chance)) ++request->accepted;
  }
}

// Pages for the tokens that every lane verifies; who finds none makes the youngest give way.
// Lanes that will keep their new page go first: then pages of rejected tokens are the last handed
// out, the ids in use have no holes, and the first past a pool is its page count for any seed.
void Engine::allocate_decode() {
  const auto keeps = [&](const Request& request) {
    return request.len + request.accepted + 1 >
           static_cast<std::int64_t>(request.full.size()) * model_.page_size;
  };
  for (const bool sure : {true, false}) {
    for (std::size_t i = 0; i < running_.size();) {
      Request& request = *running_[i];
      if ((sure && !keeps(request)) || grow(request, request.len + kDraftTokens)) {
        ++i;
        continue;
      }
      preempt_last();  // It may be this one, or one before.
      i = 0;
    }
  }
}

void Engine::accept(Request& request) {
  const std::int64_t verified = request.len + kDraftTokens;
  request.len = std::min(request.len + request.accepted + 1, request.end);
  if (!config_.lean) {
    tape_.keep(ptape_accept(tape_.recorder(), tape_.at(), request.name, kDraftTokens - 1,
                            request.accepted));
    if (request.len < verified) {
      for (const ptape_name pool : {tape_.full, tape_.swa}) {
        tape_.keep(ptape_rewind(tape_.recorder(), tape_.at(), pool, request.name, request.len));
      }
    }
  }
  shrink(request, request.len);
}

void Engine::decode() {
  for (const RequestPtr& request : running_) evict_outputs(*request);
  begin_step(tape_.verify, running_.size(), kDecodeNs);
  ++decodes_;
  planter_.begin_step(running_, decodes_);
  draft_.launch(running_, planter_.stale_draft_lens());
  draw_accepted();
  allocate_decode();
  if (running_.empty()) return;
  const Tweaks tweaks = planter_.before_verify();
  target_.verify(running_, tweaks);
  if (Request* lost = planter_.after_verify(target_)) leave(lost, tape_.abort);
  for (const RequestPtr& request : running_) accept(*request);
  free_group();
  for (std::size_t i = running_.size(); i-- > 0;) {
    if (running_[i]->len >= running_[i]->end) leave(running_[i].get(), tape_.finish);
  }
}

}  // namespace pagetape::sim
