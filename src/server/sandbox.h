// Sandbox: what this process gives up for good, so that a fault in it is worth less to an attacker.
// Two steps, because rules for files bind only threads made later, while a filter of system calls
// must come when all sockets stand.
#pragma once

#include <string>
#include <vector>

namespace serval {

struct SandboxFiles {
  std::vector<std::string> read;   // files, or folders with all below them
  std::vector<std::string> write;  // folders: create, read, write and remove below them
  std::string socket_folder;       // where a Unix socket appears and goes; empty: none
};

// Landlock: from now on this thread, and all threads it makes, open nothing else but what the C
// library and the engine need of the system. Paths that do not exist are left out. Returns the
// kernel's Landlock version; 0: it has none, and nothing changed. Throws Error.
int restrict_files(const SandboxFiles& files);

// seccomp: all threads keep only the calls a serving process makes: no new program, process or
// socket, no executable memory, no tracing. The others fail with EPERM. Also ends core dumps.
// False: the kernel has no seccomp. Throws Error.
bool restrict_system_calls();

}  // namespace serval
