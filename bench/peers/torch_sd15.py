"""PyTorch eager, channels last, on SD 1.5's shapes with random weights."""

import copy

import peer


def main():
    args = peer.arguments(__doc__).parse_args()
    import torch
    torch.set_num_threads(args.threads)
    program = "torch " + torch.__version__
    for subject in args.subject or peer.SUBJECTS:
        module, inputs = peer.sd15(subject, args.tiny)
        for precision in peer.precisions(args):
            kind = {"f32": torch.float32, "bf16": torch.bfloat16}[precision]
            m = copy.deepcopy(module).to(kind).to(memory_format=torch.channels_last)
            x = [i.to(kind) if i.is_floating_point() else i for i in inputs]
            x = [i.contiguous(memory_format=torch.channels_last) if i.dim() == 4 else i for i in x]
            with torch.inference_mode():
                seconds = peer.timed(lambda: m(*x), args.runs)
            peer.say(program, subject, precision, len(x[0]), seconds, args)


if __name__ == "__main__":
    main()
