// What Draw asks for, the flow that does it, and back: the settings that a flow tells.

import type { ApiNode, Flow, Json, ModelFacts, Picture } from "./api";

export type Settings = {
    words: string;
    negative: string;
    model: string;
    width: number;
    height: number;
    count: number;
    steps: number;
    cfg: number;
    sampler: string;
    schedule: string;
    seed: number;
    seedLocked: boolean;
    loras: { name: string; strength: number }[];
    denoise: number;
    start?: Picture;
    masked: boolean;
};

export const initial: Settings = {
    words: "", negative: "", model: "", width: 0, height: 0, count: 1, steps: 20, cfg: 0, sampler: "", schedule: "", seed: 0,
    seedLocked: false, loras: [], denoise: 0.75, masked: false,
};

/** Size, steps, guidance and sampler as a model's makers have them. */
export function habitsOf(f: ModelFacts): Partial<Settings> {
    return { width: f.width, height: f.height, steps: f.steps, cfg: f.cfg, sampler: f.sampler, schedule: f.schedule };
}

const inFolder = (p: Picture): string => (p.subfolder ? `${p.subfolder}/` : "") + p.filename + (p.type === "input" ? "" : ` [${p.type}]`);

/** The numbers of the nodes are those that limn writes into its pictures. */
export function flowOf(s: Settings): Flow {
    const flow: Flow = {};
    const node = (id: string, class_type: string, inputs: Record<string, Json>): void => void (flow[id] = { class_type, inputs });
    node("4", "CheckpointLoaderSimple", { ckpt_name: s.model });
    let last = "4";
    s.loras.forEach((l, i) => {
        node(String(20 + i), "LoraLoader", { model: [last, 0], clip: [last, 1], lora_name: l.name, strength_model: l.strength, strength_clip: l.strength });
        last = String(20 + i);
    });
    node("6", "CLIPTextEncode", { clip: [last, 1], text: s.words });
    node("7", "CLIPTextEncode", { clip: [last, 1], text: s.negative });
    if (s.start) {
        node("11", "LoadImage", { image: inFolder(s.start) });
        node("13", "ImageScale", { image: ["11", 0], upscale_method: "lanczos", width: s.width, height: s.height, crop: "center" });
        node("12", "VAEEncode", { pixels: ["13", 0], vae: ["4", 2] });
        let latent = "12";
        if (s.masked) {
            node("14", "SetLatentNoiseMask", { samples: ["12", 0], mask: ["11", 1] });
            latent = "14";
        }
        node("5", "RepeatLatentBatch", { samples: [latent, 0], amount: s.count });
    } else node("5", "EmptyLatentImage", { width: s.width, height: s.height, batch_size: s.count });
    node("3", "KSampler", {
        model: [last, 0], positive: ["6", 0], negative: ["7", 0], latent_image: ["5", 0], seed: s.seed, steps: s.steps, cfg: s.cfg,
        sampler_name: s.sampler, scheduler: s.schedule, denoise: s.start ? s.denoise : 1,
    });
    node("8", "VAEDecode", { samples: ["3", 0], vae: ["4", 2] });
    node("9", "SaveImage", { images: ["8", 0], filename_prefix: "limn" });
    return flow;
}

export type Found = Partial<Omit<Settings, "start" | "masked" | "seedLocked">>;

/** The settings of a flow that has a sampler, as far as they are constants there. */
export function settingsOf(flow: Flow): Found {
    const found: Found = {};
    const of = (link: Json | undefined): ApiNode | undefined => (Array.isArray(link) && link.length === 2 ? flow[String(link[0])] : undefined);
    const sampler = Object.values(flow).find(n => n.class_type === "KSampler" || n.class_type === "KSamplerAdvanced");
    if (!sampler) return found;
    const i = sampler.inputs, number = (v: Json | undefined): number | undefined => (typeof v === "number" ? v : undefined);
    found.seed = number(i.seed ?? i.noise_seed);
    found.steps = number(i.steps);
    found.cfg = number(i.cfg);
    if (typeof i.sampler_name === "string") found.sampler = i.sampler_name;
    if (typeof i.scheduler === "string") found.schedule = i.scheduler;
    found.denoise = number(i.denoise);
    found.words = textOf(of(i.positive), of);
    found.negative = textOf(of(i.negative), of);
    const latent = of(i.latent_image);
    found.width = number(latent?.inputs.width);
    found.height = number(latent?.inputs.height);
    found.count = number(latent?.inputs.batch_size);
    found.loras = [];
    for (let n = of(i.model), most = 100; n && most--; n = of(n.inputs.model)) {
        if (n.class_type.startsWith("LoraLoader") && typeof n.inputs.lora_name === "string")
            found.loras.unshift({ name: n.inputs.lora_name, strength: number(n.inputs.strength_model) ?? 1 });
        if (typeof n.inputs.ckpt_name === "string") found.model = n.inputs.ckpt_name;
    }
    for (const key of Object.keys(found) as (keyof Found)[]) if (found[key] === undefined) delete found[key];
    return found;
}

/** The words behind a conditioning, through the nodes that change it. */
function textOf(node: ApiNode | undefined, of: (link: Json | undefined) => ApiNode | undefined): string | undefined {
    for (let most = 100; node && most--; ) {
        if (typeof node.inputs.text === "string") return node.inputs.text;
        node = of(node.inputs.conditioning ?? node.inputs.conditioning_to ?? node.inputs.positive);
    }
    return undefined;
}

/** Width and height of about `area` pixels in the ratio, multiples of `cell`. */
export function sizeOf(area: number, ratio: number, cell: number): [number, number] {
    const to = (v: number): number => Math.max(cell, Math.round(v / cell) * cell);
    return [to(Math.sqrt(area * ratio)), to(Math.sqrt(area / ratio))];
}
