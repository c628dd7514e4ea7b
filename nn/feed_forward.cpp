#include "subquad/nn/feed_forward.h"

#include "subquad/nn/at_least.h"
#include "subquad/nn/choice.h"

namespace subquad::nn {

namespace {

using kernels::Activation;
constexpr Choices<Activation, 3> kActivations = {
    {{"none", Activation::none}, {"relu", Activation::relu}, {"gelu", Activation::gelu}}};

const FeedForwardConfig& checked(const FeedForwardConfig& config) {
  check_at_least("feed_forward", "width", config.width, 1);
  check_at_least("feed_forward", "hidden", config.hidden, 1);
  return config;
}

}  // namespace

Activation parse_activation(std::string_view name) {
  return choose("activation", kActivations, name);
}

std::string_view activation_name(Activation activation) {
  return name_of(kActivations, activation);
}

FeedForward::FeedForward(const Place& place, const FeedForwardConfig& config)
    : Module(place),
      activation_(config.activation),
      first_(child("first"), checked(config).width, config.hidden),
      hidden_dropout_(child("hidden_dropout"), config.dropout),
      second_(child("second"), config.hidden, config.width),
      dropout_(child("dropout"), config.dropout) {}

Variable FeedForward::operator()(const Variable& x, const RandomState& rng, const Variable& residual) const {
  const ModuleScope scope = enter();
  const Variable hidden = hidden_dropout_.after(first_, x, activation_, rng);  // [B, N, hidden]
  return dropout_.after(second_, hidden, Activation::none, rng, residual);     // [B, N, width]
}

}  // namespace subquad::nn
