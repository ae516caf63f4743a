"""PyTorch eager, channels last, on SDXL's shapes with random weights: 1024x1024, the second text encoder."""

import gc
import resource

import peer


def main():
    args = peer.arguments(__doc__).parse_args()
    import torch
    torch.set_num_threads(args.threads)
    program = "torch " + torch.__version__
    for subject in args.subject or peer.SUBJECTS:
        for precision in peer.precisions(args):
            kind = {"f32": torch.float32, "bf16": torch.bfloat16}[precision]
            module, inputs, named = peer.sdxl(subject, args.tiny, kind)
            module = module.to(memory_format=torch.channels_last)
            x = [i.contiguous(memory_format=torch.channels_last) if i.dim() == 4 else i for i in inputs]
            with torch.inference_mode():
                seconds = peer.timed(lambda: module(*x, **named), args.runs)
            peer.say(program, subject, precision, len(x[0]), seconds, args,
                     peak_rss=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
            del module
            gc.collect()


if __name__ == "__main__":
    main()
