#!/usr/bin/env python3
"""The router's PPO update in PyTorch, written from the formulas and apart from the Go code, in float64.

Run with --fixture FILE it writes inputs, and what a few gradient steps make of them, for the Go test (router/testdata/ppo.json).
bench_router.py times the same network and update.
"""
import argparse, json

import torch
from torch import nn


class Router(nn.Module):
    """One network for all modules: state (query, memory, λ) and module, each through a linear layer, then shared layers."""

    def __init__(self, dim, modules, tiers, hidden, actor, gain=0.01):
        super().__init__()
        self.proj = nn.Linear(2 * dim + 1, hidden)
        self.describe = nn.Linear(dim, hidden)
        self.modules_ = nn.Parameter(torch.randn(modules, dim) / dim**0.5)
        self.encoder = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.actor = nn.Sequential(nn.Linear(hidden, actor), nn.ReLU(), nn.Linear(actor, tiers))
        self.critic = nn.Sequential(nn.Linear(hidden, actor), nn.ReLU(), nn.Linear(actor, 1))
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.orthogonal_(m.weight, 2**0.5)
                nn.init.zeros_(m.bias)
        nn.init.orthogonal_(self.actor[2].weight, gain)
        nn.init.orthogonal_(self.critic[2].weight, 1.0)

    def encode(self, query, memory, lam, module):
        """[B, dim], [B, dim], [B, 1], [B] → [B, hidden]"""
        state = self.proj(torch.cat([query, memory, lam], -1))
        return self.encoder(torch.cat([state, self.describe(self.modules_[module])], -1))

    def evaluate(self, query, memories, lam, states, mask):
        """memories [states, B, dim] → log-probabilities [modules, B, tiers], values [B]; all decisions in one pass."""
        b, m = len(query), len(states)
        module = torch.arange(m).repeat_interleave(b)
        h = self.encode(query.repeat(m, 1), torch.cat([memories[s] for s in states]), lam.repeat(m, 1), module)
        logits = self.actor(h).view(m, b, -1).masked_fill(mask[:, None, :], -1e9)
        return torch.log_softmax(logits, -1), self.critic(h[:b]).squeeze(-1)


def update(net, optimizer, batch, places, cfg):
    """One gradient step on the rows at places; returns what it reports."""
    get = lambda name: batch[name][places]
    advantage = get("returns") - get("values")
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    all_, value = net.evaluate(get("query"), batch["memories"][:, places], get("lambda")[:, None], cfg["states"], batch["mask"])
    log_prob = all_.gather(-1, batch["choices"][:, places, None]).squeeze(-1).sum(0)
    log_ratio = (log_prob - get("log_probs")).clamp(-10, 10)
    ratio = log_ratio.exp()
    policy = -torch.min(ratio * advantage, ratio.clamp(1 - cfg["clip"], 1 + cfg["clip"]) * advantage).mean()
    squared = (value - get("returns")) ** 2
    if cfg["value_clip"] > 0:
        near = get("values") + (value - get("values")).clamp(-cfg["value_clip"], cfg["value_clip"])
        squared = torch.max(squared, (near - get("returns")) ** 2)
    value_loss = squared.mean()
    entropies = -(all_.exp() * all_).sum(-1)
    entropy = entropies.mean() if cfg["mean_entropy"] else entropies.sum(0).mean()
    loss = policy + cfg["value_coef"] * value_loss - cfg["entropy_coef"] * entropy
    optimizer.zero_grad()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(net.parameters(), cfg["max_grad_norm"])
    optimizer.step()
    return {
        "policy_loss": policy, "value_loss": value_loss, "entropy": entropy, "approx_kl": (ratio - 1 - log_ratio).mean(),
        "clip_fraction": ((ratio - 1).abs() > cfg["clip"]).to(ratio).mean(), "grad_norm": norm,
    }


def weights(net, hidden):
    """The parameters under the names and in the layout [in, out] of the Go network."""
    e, state = net.encoder[0].weight.T, net.proj.weight.T
    dim = net.modules_.shape[1]
    out = {
        "query": state[:dim], "memory": state[dim:-1], "lambda": state[-1:], "state_bias": net.proj.bias, "modules": net.modules_,
        "describe": net.describe.weight.T, "describe_bias": net.describe.bias, "first_state": e[:hidden], "first_module": e[hidden:],
        "first_bias": net.encoder[0].bias, "second": net.encoder[2].weight.T, "second_bias": net.encoder[2].bias,
        "actor": net.actor[0].weight.T, "actor_bias": net.actor[0].bias, "critic": net.critic[0].weight.T, "critic_bias": net.critic[0].bias,
        "logits": net.actor[2].weight.T, "logits_bias": net.actor[2].bias, "value": net.critic[2].weight.T, "value_bias": net.critic[2].bias,
    }
    return {k: v.detach().flatten().tolist() for k, v in out.items()}


def random_batch(n, dim, states, tiers, net):
    """Random episodes of a router with the given tiers per module, and the log-probabilities of the network."""
    width = max(tiers)
    mask = torch.tensor([[t >= k for t in range(width)] for k in tiers])
    unit = lambda *shape: nn.functional.normalize(torch.randn(*shape), dim=-1)
    batch = {
        "query": unit(n, dim), "memories": unit(max(states) + 1, n, dim), "lambda": torch.rand(n), "mask": mask, "returns": torch.rand(n) * 2,
        "choices": torch.stack([torch.randint(k, (n,)) for k in tiers]),
    }
    with torch.no_grad():
        all_, value = net.evaluate(batch["query"], batch["memories"], batch["lambda"][:, None], states, mask)
        batch["log_probs"] = all_.gather(-1, batch["choices"][..., None]).squeeze(-1).sum(0)
        batch["values"] = value
    return batch


def case(name, seed, **changes):
    torch.manual_seed(seed)
    dim, hidden, actor, n, states, tiers = 6, 8, 5, 10, [0, 1, 1, 2], [3, 2, 3, 3]
    cfg = {
        "states": states, "clip": 0.2, "value_clip": 0.2, "value_coef": 0.5, "entropy_coef": 0.01, "mean_entropy": False,
        "max_grad_norm": 0.5, "learning_rate": 3e-4, "adam_epsilon": 1e-5, **changes,
    }
    net = Router(dim, len(tiers), max(tiers), hidden, actor, gain=1.0)
    batch = random_batch(n, dim, states, tiers, net)
    # Older choices: some ratios leave the clip, one its bounds, and some values lie further away than values may move.
    batch["log_probs"] += 0.3 * torch.randn(n)
    batch["log_probs"][3] -= 11
    batch["values"] += 0.4 * torch.randn(n)
    optimizer = torch.optim.Adam(net.parameters(), lr=cfg["learning_rate"], eps=cfg["adam_epsilon"])
    start, steps = weights(net, hidden), []
    for _ in range(3):
        order = torch.randperm(n)
        for places in (order[:5], order[5:9]):  # the second has fewer rows than a minibatch
            report = update(net, optimizer, batch, places, cfg)
            steps.append({"places": places.tolist(), "report": {k: v.item() for k, v in report.items()}})
    return {
        "name": name, "dim": dim, "hidden": hidden, "actor": actor, "minibatch": 5, "tiers": tiers, "states": states,
        "config": {k: v for k, v in cfg.items() if k != "states"}, "start": start, "steps": steps, "end": weights(net, hidden),
        "batch": {k: batch[k].flatten().tolist() for k in ("query", "memories", "lambda", "returns", "choices", "log_probs", "values")},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fixture", required=True)
    torch.set_default_dtype(torch.float64)
    cases = [case("default", 1), case("paper", 2, mean_entropy=True), case("plain values, bounded gradient", 3, value_clip=0.0, max_grad_norm=0.05, learning_rate=1e-2)]
    made_by = f"scripts/ppo_reference.py, PyTorch {torch.__version__.split('+')[0]}, float64"
    with open(parser.parse_args().fixture, "w") as f:
        json.dump({"made_by": made_by, "cases": cases}, f)
        f.write("\n")
