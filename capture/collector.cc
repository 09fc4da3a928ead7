// SPDX-License-Identifier: Apache-2.0
#include "capture/collector.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "capture/drain.h"
#include "capture/flight.h"
#include "capture/injection.h"
#include "capture/journal.h"
#include "capture/ring_file.h"

namespace pagetape {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kOwnFailure = 125, kCannotRun = 126, kNotFound = 127;
constexpr std::chrono::milliseconds kIdle(1);
// What was taken is in the file after so long, if its segment was not full before.
constexpr std::chrono::seconds kFlushEvery(5);
constexpr int kScanMs = 10;

unsigned long long said(std::uint64_t n) { return n; }

// One ring and its trace, and the thread between them.
class Session {
 public:
  static std::unique_ptr<Session> open(const std::string& ring, const CollectorOptions& options,
                                       Status& status) {
    auto file = RingFile::open(ring, status);
    if (file == nullptr) return nullptr;
    const std::string trace = free_trace(options.out, file->header().pid, file->header().rank);
    auto journal = Journal::create(trace + kJournalSuffix, ring, status);
    if (journal == nullptr) return nullptr;
    auto names = std::make_unique<Names>();
    std::unique_ptr<Writer> writer;
    FlightRecorder* flight = nullptr;
    if (options.flight()) {
      auto recorder = std::make_unique<FlightRecorder>(trace, *names, flight_options(options));
      flight = recorder.get();
      writer = std::move(recorder);
    } else {
      WriterOptions format;
      format.zstd_level = options.zstd_level;
      format.behind = true;
      writer = create_trace(trace, *names, format, status);
    }
    if (writer == nullptr) return nullptr;
    auto companion = options.companion ? options.companion(*names) : nullptr;
    return std::unique_ptr<Session>(new Session(std::move(file), trace, std::move(companion),
                                                std::move(names), std::move(writer), flight,
                                                std::move(journal)));
  }
  ~Session() { join(); }

  // Pulls the triggers of the cause, where there are any. From any thread.
  void pull(const std::string& cause) {
    const std::lock_guard lock(mutex_);
    pulled_.push_back(cause);
  }

  bool done() const { return done_.load(std::memory_order_acquire); }
  void join() {
    if (thread_.joinable()) thread_.join();
  }
  // After join(): what became of it, and its ring removed.
  void report() {
    const RingHeader& header = file_->header();
    std::fprintf(stderr, "pagetape: %s: %llu events%s", trace_.c_str(), said(drain_->events()),
                 flight_ != nullptr ? " seen" : "");
    if (header.dropped != 0) std::fprintf(stderr, ", %llu dropped", said(header.dropped));
    if (header.malformed != 0) std::fprintf(stderr, ", %llu malformed", said(header.malformed));
    if (drain_->torn() != 0) std::fprintf(stderr, ", %llu cut short", said(drain_->torn()));
    std::fprintf(stderr, "%s\n", header.closed != 0 ? "" : "; its process was killed");
    if (const std::string error = drain_->error(); !error.empty()) {
      std::fprintf(stderr, "pagetape: %s\n", error.c_str());
    }
    const std::string verdict = companion_ != nullptr ? companion_->verdict() : "";
    if (!verdict.empty()) {
      std::fprintf(stderr, "pagetape: %s: %s\n", trace_.c_str(), verdict.c_str());
    }
    if (drain_->failed()) {
      std::fprintf(stderr, "pagetape: the rest is in %s: pagetape recover\n",
                   file_->path().c_str());
      return;
    }
    ::unlink(file_->path().c_str());
    remove_tables(file_->path());
    ::unlink((trace_ + kJournalSuffix).c_str());
  }

 private:
  Session(std::unique_ptr<RingFile> file, std::string trace, std::unique_ptr<Companion> companion,
          std::unique_ptr<Names> names, std::unique_ptr<Writer> writer, FlightRecorder* flight,
          std::unique_ptr<Journal> journal)
      : file_(std::move(file)),
        trace_(std::move(trace)),
        companion_(std::move(companion)),
        flight_(flight) {
    DrainOptions options;
    options.flight = flight;
    options.durable = true;
    options.tables = tables_of(file_->path(), MAP_SHARED);
    options.thread_lives = [this](std::uint32_t thread) { return file_->thread_lives(thread); };
    drain_ = std::make_unique<Drain>(file_->memory(), std::move(names), std::move(writer),
                                     std::move(journal), companion_.get(), std::move(options));
    thread_ = std::thread([this] { run(); });
  }

  static FlightOptions flight_options(const CollectorOptions& options) {
    return {options.last, options.triggers, options.zstd_level, options.keyframes,
            [](const std::string& line) { std::fprintf(stderr, "pagetape: %s\n", line.c_str()); }};
  }

  void pull_triggers() {
    std::vector<std::string> pulled;
    {
      const std::lock_guard lock(mutex_);
      pulled.swap(pulled_);
    }
    for (const std::string& cause : pulled) flight_->pull(cause);
  }

  void run() {
    auto flushed = Clock::now();
    while (true) {
      const bool ended = file_->header().closed.load() != 0 || !file_->written();
      const bool took = drain_->serve();
      if (flight_ != nullptr) pull_triggers();
      if (took) continue;
      if (ended) break;
      if (Clock::now() - flushed > kFlushEvery) {
        drain_->flush();
        flushed = Clock::now();
      }
      std::this_thread::sleep_for(kIdle);
    }
    (void)drain_->close();  // What went wrong is in error().
    done_.store(true, std::memory_order_release);
  }

  std::unique_ptr<RingFile> file_;
  const std::string trace_;
  std::unique_ptr<Companion> companion_;
  FlightRecorder* flight_;  // The drain's writer; null: that is a file.
  std::mutex mutex_;
  std::vector<std::string> pulled_;  // Causes, on their way to the thread.
  std::unique_ptr<Drain> drain_;
  std::atomic<bool> done_{false};
  std::thread thread_;
};

// Signals come as bytes of a file, so that nothing happens in between.
class Signals {
 public:
  Signals() {
    sigemptyset(&mask_);
    for (const int signal : {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2}) {
      sigaddset(&mask_, signal);
    }
    sigprocmask(SIG_BLOCK, &mask_, &before_);
    // A disk quota is an error of write() like others.
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    fd_ = signalfd(-1, &mask_, SFD_CLOEXEC | SFD_NONBLOCK);
  }
  ~Signals() {
    ::close(fd_);
    sigprocmask(SIG_SETMASK, &before_, nullptr);
  }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  // In the child, before it becomes the command.
  void restore() const {
    signal(SIGXFSZ, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &before_, nullptr);
  }
  // Waits for so long, and hands on what came but for those that `taken` wants. From a terminal the
  // command has it already.
  void pass_on(pid_t child, int wait_ms, const std::function<bool(int)>& taken) const {
    pollfd poll_fd{fd_, POLLIN, 0};
    if (poll(&poll_fd, 1, wait_ms) <= 0) return;
    signalfd_siginfo info;
    while (read(fd_, &info, sizeof(info)) == sizeof(info)) {
      const int signal = static_cast<int>(info.ssi_signo);
      if (taken(signal)) continue;
      if (signal != SIGCHLD && info.ssi_code != SI_KERNEL && child > 0) kill(child, signal);
    }
  }

 private:
  sigset_t mask_, before_;
  int fd_;
};

class Collector {
 public:
  explicit Collector(const CollectorOptions& options) : options_(options) {}

  int run() {
    if (!options_.cupti.empty() && options_.cupti != kNotInjected &&
        access(options_.cupti.c_str(), R_OK) != 0) {
      std::fprintf(stderr, "pagetape record: --cupti %s: %s\n", options_.cupti.c_str(),
                   std::strerror(errno));
      return kOwnFailure;
    }
    std::error_code error;
    fs::create_directories(options_.out, error);
    if (error) {
      std::fprintf(stderr, "pagetape record: %s: %s\n", options_.out.c_str(),
                   error.message().c_str());
      return kOwnFailure;
    }
    make_ring_folder();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    const Signals signals;
    child_ = fork();
    if (child_ == 0) become_command(signals);
    if (child_ < 0) {
      std::perror("pagetape record: fork");
      return kOwnFailure;
    }
    umask(077);
    while (!reap()) {
      signals.pass_on(running_ ? child_ : 0, kScanMs, [this](int signal) { return take(signal); });
      scan();
    }
    scan();
    for (auto& session : sessions_) finish(*session);
    remove_ring_folder();
    if (sessions_.empty() && !refused_) {
      std::fprintf(stderr, "pagetape: no process recorded anything\n");
    }
    return status_;
  }

 private:
  // Signals that are triggers go to every process's recorder, and not to the command.
  bool take(int signal) {
    std::string cause;
    for (const Trigger& trigger : options_.triggers) {
      if (signal_of(trigger.cause) != signal) continue;
      cause = trigger.cause;
      if (trigger.act != Trigger::Act::kDump) switched_ = cause;
    }
    if (cause.empty()) return false;
    for (const auto& session : sessions_) session->pull(cause);
    return true;
  }

  void make_ring_folder() {
    folder_ = options_.shared_memory + "/pagetape-" + random_name();
    if (mkdir(folder_.c_str(), 0700) == 0) return;
    std::fprintf(
        stderr,
        "pagetape: %s: %s. Each process writes its trace itself: what it has not written "
        "is lost if it is killed, there are no keyframes, and nothing is judged as it comes%s.\n",
        options_.shared_memory.c_str(), std::strerror(errno),
        options_.flight() ? ", cut or triggered" : "");
    folder_.clear();
    refused_ = true;
  }

  // Rings that could not be drained stay, and their folder with them.
  void remove_ring_folder() const {
    if (folder_.empty()) return;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder_, error)) {
      if (entry.path().extension() == ".new") ::unlink(entry.path().c_str());
    }
    ::rmdir(folder_.c_str());
  }

  [[noreturn]] void become_command(const Signals& signals) const {
    std::error_code error;
    const std::string out = fs::absolute(options_.out, error).string();
    setenv(kRingFolderVariable, folder_.c_str(), 1);
    setenv(kRingSizeVariable, std::to_string(options_.ring_bytes).c_str(), 1);
    setenv(kTraceFolderVariable, out.c_str(), 1);
    inject({options_.cupti, options_.python, options_.guard, out});
    signals.restore();
    std::vector<char*> arguments;
    for (const std::string& argument : options_.command) {
      arguments.push_back(const_cast<char*>(argument.c_str()));
    }
    arguments.push_back(nullptr);
    execvp(arguments[0], arguments.data());
    const int why = errno;
    std::fprintf(stderr, "pagetape record: %s: %s\n", arguments[0], std::strerror(why));
    _exit(why == ENOENT ? kNotFound : kCannotRun);
  }

  // True when the command has ended and no process below holds a ring.
  bool reap() {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
      if (pid != child_) continue;
      running_ = false;
      status_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
    if (running_) return false;
    scan();
    return std::ranges::all_of(sessions_, [](const auto& session) { return session->done(); });
  }

  void scan() {
    if (folder_.empty()) return;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder_, error)) {
      const std::string path = entry.path().string();
      if (entry.path().extension() != kRingSuffix || !seen_.insert(path).second) continue;
      Status status;
      auto session = Session::open(path, options_, status);
      if (session == nullptr) {
        refused_ = true;
        std::fprintf(stderr, "pagetape: %s\n", status.message().c_str());
        continue;
      }
      if (!switched_.empty()) session->pull(switched_);
      sessions_.push_back(std::move(session));
    }
  }

  static void finish(Session& session) {
    session.join();
    session.report();
  }

  const CollectorOptions& options_;
  std::string folder_;  // Of the rings; "": there is no shared memory.
  std::set<std::string> seen_;
  std::string
      switched_;  // The cause that started or stopped recording last, for processes to come.
  std::vector<std::unique_ptr<Session>> sessions_;
  pid_t child_ = 0;
  bool running_ = true, refused_ = false;
  int status_ = kOwnFailure;
};

}  // namespace

int collect(const CollectorOptions& options) { return Collector(options).run(); }

}  // namespace pagetape
