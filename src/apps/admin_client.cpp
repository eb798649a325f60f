// One libcurl handle in a multi handle, so that a stream, keys and signals can be waited for
// together.
#include "apps/admin_client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <boost/json.hpp>
#include <vector>

#include "apps/terminal.h"
#include "serval/error.h"

namespace serval {
namespace {

constexpr size_t kMostBytes = size_t{256} << 20;  // of a reply, or of one event
constexpr long kConnectSeconds = 5;
constexpr long kReplySeconds = 60;
constexpr std::string_view kUnix = "unix:";

}  // namespace

struct AdminClient::Impl {
  Impl(const std::string& address, const std::string& key) {
    curl_global_init(CURL_GLOBAL_DEFAULT);
    multi = curl_multi_init();
    if (address.starts_with(kUnix)) {
      socket = address.substr(kUnix.size());
      base = "http://localhost";
    } else {
      base = address.substr(0, address.find_last_not_of('/') + 1);
      if (base.find("://") == std::string::npos) base = "http://" + base;
    }
    if (!key.empty()) {
      headers = curl_slist_append(headers, ("Authorization: Bearer " + key).c_str());
    }
  }
  ~Impl() {
    close();
    curl_slist_free_all(headers);
    curl_multi_cleanup(multi);
    curl_global_cleanup();
  }

  void close() {
    if (easy == nullptr) return;
    curl_multi_remove_handle(multi, easy);
    curl_easy_cleanup(easy);
    easy = nullptr;
  }

  void open(const std::string& path, bool post, bool is_stream) {
    close();
    received.clear();
    fault[0] = '\0';
    stream = is_stream;
    easy = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_URL, (base + path).c_str());
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
    if (!is_stream) curl_easy_setopt(easy, CURLOPT_TIMEOUT, kReplySeconds);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, fault);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Impl::on_bytes);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, this);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
    if (!socket.empty()) curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, socket.c_str());
    if (post) {
      curl_easy_setopt(easy, CURLOPT_POST, 1L);
      curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, 0L);
    }
    curl_multi_add_handle(multi, easy);
  }

  static size_t on_bytes(char* data, size_t size, size_t count, void* self) {
    std::string& received = static_cast<Impl*>(self)->received;
    if (received.size() + size * count > kMostBytes) return 0;
    received.append(data, size * count);
    return size * count;
  }

  int status() const {
    long code = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &code);
    return static_cast<int>(code);
  }

  // Moves bytes; true when the transfer is complete. Throws when it broke.
  bool advance() {
    int running = 0;
    curl_multi_perform(multi, &running);
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      const CURLcode code = message->data.result;
      if (code == CURLE_OK) return true;
      const std::string why = fault[0] != '\0' ? fault : curl_easy_strerror(code);
      throw Error(ErrorCode::kIo, fmt::format("{}: {}", socket.empty() ? base : socket, why));
    }
    return false;
  }

  // Complete events in what was received.
  void read_events(const OnEvent& on_event) {
    for (size_t end = 0; (end = received.find("\n\n")) != std::string::npos;) {
      std::string_view block = std::string_view(received).substr(0, end);
      std::string_view name;
      std::string_view data;
      while (!block.empty()) {
        const std::string_view line = block.substr(0, block.find('\n'));
        block.remove_prefix(std::min(block.size(), line.size() + 1));
        if (line.starts_with("event: ")) name = line.substr(7);
        if (line.starts_with("data: ")) data = line.substr(6);
      }
      if (!data.empty()) on_event(name, data);
      received.erase(0, end + 2);
    }
  }

  CURLM* multi = nullptr;
  CURL* easy = nullptr;
  curl_slist* headers = nullptr;
  std::string base, socket, received;
  char fault[CURL_ERROR_SIZE] = {};
  bool stream = false;
};

AdminClient::AdminClient(std::string address, std::string key)
    : address_(std::move(address)),
      key_(std::move(key)),
      impl_(std::make_unique<Impl>(address_, key_)) {}

AdminClient::~AdminClient() = default;

AdminReply AdminClient::get(const std::string& path) {
  impl_->open(path, false, false);
  while (!impl_->advance()) curl_multi_poll(impl_->multi, nullptr, 0, 1000, nullptr);
  return {impl_->status(), std::move(impl_->received)};
}

AdminReply AdminClient::post(const std::string& path) {
  impl_->open(path, true, false);
  while (!impl_->advance()) curl_multi_poll(impl_->multi, nullptr, 0, 1000, nullptr);
  return {impl_->status(), std::move(impl_->received)};
}

void AdminClient::open_stream(const std::string& path) { impl_->open(path, false, true); }

std::optional<AdminReply> AdminClient::wait(int milliseconds, std::span<const int> descriptors,
                                            const OnEvent& on_event) {
  std::vector<curl_waitfd> extra;
  for (const int descriptor : descriptors) extra.push_back({descriptor, CURL_WAIT_POLLIN, 0});
  curl_multi_poll(impl_->multi, extra.data(), static_cast<unsigned>(extra.size()), milliseconds,
                  nullptr);
  if (impl_->easy == nullptr) return std::nullopt;
  const bool ended = impl_->advance();
  const int status = impl_->status();
  if (ended && status != 200) return AdminReply{status, std::move(impl_->received)};
  if (status == 200) impl_->read_events(on_event);
  if (ended) {
    throw Error(ErrorCode::kIo, fmt::format("{}: the server ended the stream", address_));
  }
  return std::nullopt;
}

std::string error_message(const AdminReply& reply) {
  boost::system::error_code fault;
  const boost::json::value value = boost::json::parse(reply.body, fault);
  if (!fault && value.is_object()) {
    if (const auto* error = value.as_object().if_contains("error"); error && error->is_object()) {
      if (const auto* message = error->as_object().if_contains("message");
          message && message->is_string()) {
        return terminal_safe(std::string_view(message->as_string()));
      }
    }
  }
  return fmt::format("the server answered {}", reply.status);
}

}  // namespace serval
