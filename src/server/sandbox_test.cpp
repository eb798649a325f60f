// Every action is tried by a child that locked itself in: the parent must stay free to test.
#include "server/sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <thread>

namespace serval {
namespace {

// Exit status of a child that runs `body`.
int in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

class SandboxTest : public testing::Test {
 protected:
  SandboxTest() {
    char name[] = "/tmp/sandbox_test.XXXXXX";
    folder_ = ::mkdtemp(name);
    for (const char* sub : {"/in", "/out"}) ::mkdir((folder_ + sub).c_str(), 0700);
    for (const char* file : {"/model", "/in/old", "/out/old"}) std::ofstream(folder_ + file) << "x";
    if (::symlink((folder_ + "/out/old").c_str(), (folder_ + "/in/link").c_str()) != 0) {
      ADD_FAILURE() << "no symbolic links in /tmp";
    }
  }
  ~SandboxTest() override { EXPECT_EQ(std::system(("rm -rf " + folder_).c_str()), 0); }

  SandboxFiles files() const { return {{folder_ + "/model"}, {folder_ + "/in"}, ""}; }
  // 0 when the system call said yes, else its errno.
  int try_open(const std::string& name, int flags) const {
    const int file = ::open((folder_ + name).c_str(), flags | O_CLOEXEC, 0600);
    return file < 0 ? errno : 0;
  }

  std::string folder_;
};

TEST_F(SandboxTest, FilesOutsideCannotBeReached) {
  const int status = in_child([&] {
    if (restrict_files(files()) == 0) return 77;
    if (try_open("/model", O_RDONLY) != 0) return 1;
    if (try_open("/model", O_WRONLY) != EACCES) return 2;
    if (try_open("/model", O_RDONLY | O_TRUNC) != EACCES) return 3;
    if (try_open("/in/old", O_RDWR) != 0) return 4;
    if (try_open("/in/new", O_RDWR | O_CREAT) != 0) return 5;
    if (try_open("/out/old", O_RDONLY) != EACCES) return 6;
    if (try_open("/out/new", O_RDWR | O_CREAT) != EACCES) return 7;
    if (try_open("/in/link", O_RDONLY) != EACCES) return 8;
    if (try_open("/in/../out/old", O_RDONLY) != EACCES) return 9;
    const std::string in = folder_ + "/in/old", out = folder_ + "/out/old";
    if (::rename(in.c_str(), (folder_ + "/out/moved").c_str()) == 0) return 10;
    if (::link(out.c_str(), (folder_ + "/in/linked").c_str()) == 0) return 11;
    if (::unlink(out.c_str()) == 0) return 12;
    if (::mkdir((folder_ + "/out/sub").c_str(), 0700) == 0) return 13;
    if (::open("/etc/passwd", O_RDONLY) >= 0) return 14;
    if (::open("/proc/1/environ", O_RDONLY) >= 0) return 15;
    if (::rename(in.c_str(), (folder_ + "/in/renamed").c_str()) != 0) return 16;
    if (::unlink((folder_ + "/in/renamed").c_str()) != 0) return 17;
    return 0;
  });
  if (status == 77) GTEST_SKIP() << "this kernel has no Landlock";
  EXPECT_EQ(status, 0);
}

TEST_F(SandboxTest, ThreadsMadeLaterAreBoundToo) {
  const int status = in_child([&] {
    if (restrict_files(files()) == 0) return 77;
    int seen = 0;
    std::thread([&] { seen = try_open("/out/old", O_RDONLY); }).join();
    return seen == EACCES ? 0 : 1;
  });
  if (status == 77) GTEST_SKIP() << "this kernel has no Landlock";
  EXPECT_EQ(status, 0);
}

// What an intruder would want next. Each must fail with EPERM, whatever its arguments.
long refused_calls() {
  char text[] = "/bin/true";
  char* const arguments[] = {text, nullptr};
  const long attempts[] = {
      ::syscall(SYS_execve, text, arguments, nullptr),
      ::syscall(SYS_execveat, AT_FDCWD, text, arguments, nullptr, 0),
      ::syscall(SYS_fork),
      ::syscall(SYS_vfork),
      ::syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0),
      ::syscall(SYS_ptrace, PTRACE_ATTACH, ::getppid(), 0, 0),
      ::syscall(SYS_process_vm_readv, ::getppid(), nullptr, 0, nullptr, 0, 0),
      ::syscall(SYS_kill, ::getppid(), SIGTERM),
      ::socket(AF_INET, SOCK_STREAM, 0),
      ::socket(AF_UNIX, SOCK_STREAM, 0),
      ::socket(AF_NETLINK, SOCK_RAW, 0),
      ::bind(0, nullptr, 0),
      ::listen(0, 1),
      ::connect(0, nullptr, 0),
      ::syscall(SYS_bpf, 0, nullptr, 0),
      ::syscall(SYS_io_uring_setup, 1, nullptr),
      ::syscall(SYS_perf_event_open, nullptr, 0, 0, 0, 0),
      ::syscall(SYS_userfaultfd, 0),
      ::syscall(SYS_memfd_create, "x", 0),
      ::syscall(SYS_mount, nullptr, nullptr, nullptr, 0, nullptr),
      ::syscall(SYS_unshare, 0x10000000),
      ::syscall(SYS_setns, 0, 0),
      ::syscall(SYS_chroot, "/"),
      ::syscall(SYS_pivot_root, "/", "/"),
      ::syscall(SYS_setuid, 0),
      ::syscall(SYS_setgid, 0),
      ::syscall(SYS_capset, nullptr, nullptr),
      ::syscall(SYS_chmod, "/tmp", 0777),
      ::syscall(SYS_chown, "/tmp", 0, 0),
      ::syscall(SYS_symlink, "/etc", "/tmp/serval-etc"),
      ::syscall(SYS_mknod, "/tmp/serval-node", S_IFIFO | 0600, 0),
      ::syscall(SYS_init_module, nullptr, 0, ""),
      ::syscall(SYS_kexec_load, 0, 0, nullptr, 0),
      ::syscall(SYS_reboot, 0, 0, 0, nullptr),
      ::syscall(SYS_settimeofday, nullptr, nullptr),
      ::syscall(SYS_keyctl, 0),
      ::syscall(SYS_personality, 0xFFFFFFFF),
      ::syscall(SYS_pidfd_open, ::getppid(), 0),
      ::syscall(SYS_setrlimit, RLIMIT_CORE, nullptr),
      ::syscall(SYS_ioctl, 0, TIOCSTI, "x"),
      reinterpret_cast<long>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)),
  };
  long refused = 0;
  for (const long outcome : attempts) refused += outcome == -1 ? 1 : 0;
  return static_cast<long>(std::size(attempts)) - refused;
}

TEST_F(SandboxTest, CallsThatAttacksNeedAreRefused) {
  EXPECT_EQ(in_child([] {
              if (!restrict_system_calls()) return 77;
              return static_cast<int>(refused_calls());
            }),
            0);
}

TEST_F(SandboxTest, MemoryCannotBecomeCode) {
  EXPECT_EQ(in_child([] {
              void* page =
                  ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
              if (!restrict_system_calls()) return 77;
              if (::mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0) return 1;
              return errno == EPERM && ::mprotect(page, 4096, PROT_READ) == 0 ? 0 : 2;
            }),
            0);
}

TEST_F(SandboxTest, WhatAServerNeedsStillWorks) {
  const int status = in_child([&] {
    restrict_files(files());
    const int listening = ::socket(AF_UNIX, SOCK_STREAM, 0);
    if (listening < 0 || !restrict_system_calls()) return 1;
    int answer = 0;
    std::thread([&] { answer = 42; }).join();
    if (answer != 42 || try_open("/in/new", O_RDWR | O_CREAT) != 0) return 2;
    const std::string text(1 << 20, 'x');  // memory of the large kind
    return text.size() == 1 << 20 ? 0 : 3;
  });
  EXPECT_EQ(status, 0);
}

TEST_F(SandboxTest, AllThreadsAreFiltered) {
  EXPECT_EQ(in_child([] {
              std::atomic<int> stage{0}, seen{0};
              std::thread early([&] {
                while (stage == 0) std::this_thread::yield();
                seen = ::socket(AF_INET, SOCK_STREAM, 0) < 0 ? errno : 0;
              });
              const bool filtered = restrict_system_calls();
              stage = 1;
              early.join();
              return filtered && seen == EPERM ? 0 : 1;
            }),
            0);
}

}  // namespace
}  // namespace serval
