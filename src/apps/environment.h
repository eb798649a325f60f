// The one place that reads environment variables: folders and switches of the commands.
#pragma once

#include <string>

namespace serval {

// SERVAL_HOME, else $XDG_DATA_HOME/serval, else ~/.local/share/serval; models lie in models/.
std::string model_root();
// snapshots/ beside models/; empty when there is no home.
std::string snapshot_folder();
// $XDG_STATE_HOME/serval, else ~/.local/state/serval: chat history and saved conversations.
std::string state_folder();
// SERVAL_HUB, else the built-in address, without a final slash.
std::string hub_address();
// True when a proxy variable applies to https.
bool uses_proxy();
bool no_color();                    // NO_COLOR is set and not empty, or TERM=dumb
bool speaks_utf8();                 // LC_ALL, else LC_CTYPE, else LANG
bool on_linux_console();            // TERM=linux
std::string forced_isa();           // SERVAL_FORCE_ISA
std::string environment_api_key();  // SERVAL_API_KEY

}  // namespace serval
