"""OpenVINO's CPU plugin on SD 1.5's shapes with random weights, converted from the PyTorch modules."""

import gc

import peer


def main():
    args = peer.arguments(__doc__).parse_args()
    import openvino as ov
    import torch
    core = ov.Core()
    program = "openvino " + ov.__version__.split("-")[0]

    class First(torch.nn.Module):
        """The first tensor of what a module gives: converters want plain tensors."""
        def __init__(self, module, more):
            super().__init__()
            self.module, self.more = module, more

        def forward(self, *inputs):
            out = self.module(*inputs, **self.more)
            return out if isinstance(out, torch.Tensor) else out[0]
    for subject in args.subject or peer.SUBJECTS:
        module, inputs = peer.sd15(subject, args.tiny)
        more = {"return_dict": False} if subject == "unet_step" else {}
        with torch.no_grad():
            model = ov.convert_model(First(module, more), example_input=inputs)
        model.reshape({port: list(x.shape) for port, x in zip(model.inputs, inputs)})
        del module
        gc.collect()
        for precision in peer.precisions(args):
            compiled = core.compile_model(model, "CPU", {
                "INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": args.threads, "NUM_STREAMS": 1,
                "PERFORMANCE_HINT": "LATENCY"})
            request = compiled.create_infer_request()
            feed = {i: x.numpy() for i, x in enumerate(inputs)}
            seconds = peer.timed(lambda: request.infer(feed, share_inputs=True, share_outputs=True), args.runs)
            peer.say(program, subject, precision, len(inputs[0]), seconds, args)
            del request, compiled
            gc.collect()
        del model, inputs, feed  # the UNet's weights are gone before the next subject's come
        gc.collect()


if __name__ == "__main__":
    main()
