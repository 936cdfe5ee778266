import torch, numpy as np, time, onnxruntime as ort, warnings
from rllib_seq.nn import SequentialPolicyNetwork
torch.set_num_threads(1)
net = SequentialPolicyNetwork(26, 17, window_length=8, d_model=64).eval()
B = torch.export.Dim("batch", min=1, max=4096)
x = torch.randn(3, 8, 26); v = torch.arange(8) >= torch.tensor([[0],[3],[7]])
t=time.time()
p = torch.onnx.export(net, (x, v), dynamo=True, dynamic_shapes=({0: B}, {0: B}), input_names=["inputs","valid"], output_names=["outputs"], verbose=False)
print("export", time.time()-t)
p.save("/tmp/wt/logs/m.onnx")
so = ort.SessionOptions(); so.intra_op_num_threads=1; so.inter_op_num_threads=1
s = ort.InferenceSession("/tmp/wt/logs/m.onnx", so, providers=["CPUExecutionProvider"])
print([(i.name,i.shape,i.type) for i in s.get_inputs()])
for b in (1, 2, 32, 256):
    x = torch.randn(b, 8, 26); v = torch.arange(8) >= torch.randint(0, 8, (b, 1))
    with torch.no_grad(): want = net(x, v).numpy()
    feed={"inputs": x.numpy(), "valid": v.numpy()}
    got = s.run(None, feed)[0]
    n=200 if b<100 else 20
    t=time.time()
    for _ in range(n): s.run(None, feed)
    print(b, abs(got-want).max(), (time.time()-t)/n*1e3, "ms")
