// Every member of nn::AttentionConfig as an option, for programs that let their user choose an attention. Width,
// output dropout and longest sequence are the model's own business and not among them.
#pragma once

#include <string>
#include <vector>

#include "subquad/core/device.h"
#include "subquad/nn/attention/config.h"

namespace CLI {
class App;
}

namespace subquad::lra {

struct UnreadOption;  // options.h

void add_attention_options(CLI::App& app, nn::AttentionConfig& config);

// Those that only other mechanisms read, or that another option leaves unread.
std::vector<UnreadOption> unread_attention_options(const CLI::App& app, const nn::AttentionConfig& config);

// To be called after parsing. OptionError for an unread option whose value is not its default ("--lags 9 belongs to
// --attention fsat; this is softmax"), and for a config that the mechanism refuses; then the message is its own, which
// says what is legal. `config` must have its width and max_length by now.
void check_attention(const CLI::App& app, const nn::AttentionConfig& config);

}  // namespace subquad::lra
