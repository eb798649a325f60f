#include "apps/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

#include "apps/command.h"

namespace serval {
namespace {

// A signal handler can only reach globals; lock-free atomics are safe in it.
std::atomic<int> signals_seen{0};
std::atomic<int> scopes_open{0};
static_assert(std::atomic<int>::is_always_lock_free);

void on_signal(int number) {
  if (scopes_open.load() > 0 && signals_seen.fetch_add(1) == 0) return;
  ::_exit(number == SIGINT ? kExitInterrupted : 128 + number);
}

}  // namespace

void install_signal_handlers() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = 0;  // no SA_RESTART: waiting reads return, so that loops can look
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  // A file size limit then shows as an error of write(), with a message, like a full disk.
  struct sigaction ignore = {};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGXFSZ, &ignore, nullptr);
}

bool interrupted() { return signals_seen.load() > 0; }

InterruptScope::InterruptScope() {
  signals_seen.store(0);
  scopes_open.fetch_add(1);
}

InterruptScope::~InterruptScope() { scopes_open.fetch_sub(1); }

}  // namespace serval
