import sys, time, torch, ray
from pathlib import Path
from rllib_seq.training.experiment import Options, load_config, prepare
from rllib_seq.training.export import export_checkpoint
which, out, d = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
c = load_config("tests/rllib_seq/training/tiny.py" if which=="old" else "tune_configs.dqn")
c.env_runners(num_env_runners=0)
if which == "old":
    c.training(model={**c.model, "custom_model_config": {"window_length": 8, "d_model": d, "prev_reward": False}})
    c.environment(env_config={"preset": sys.argv[4] if len(sys.argv)>4 else "journey", "num_users": 24, "reward": "sampled"})
a = prepare(c, Options(seed=0)).build_algo()
if which == "old":
    a.get_policy("bidder").model.policy.head.weight.data.mul_(300.)
a.save_checkpoint(str(out/"checkpoint"))
a.stop()
t=time.time()
print(export_checkpoint(out/"checkpoint", out/"export")["model"]); print("export", time.time()-t)
