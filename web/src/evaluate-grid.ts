// Grids over two settings: what can be varied, how values are written, and the report of a grid, a page that holds all it shows.

import { choices, pictureAddress, type NodeInfo, type Picture } from "./api";
import type { Settings } from "./settings";
import { t, type Word } from "./words";

export type Axis = { key: string; label(): string; kind: "whole" | "number" | "choice" | "text"; offers?(table: Record<string, NodeInfo>): string[]; apply(s: Settings, value: string): Settings; example: string };

const plain = (key: keyof Settings & Word, kind: "whole" | "number", example: string): Axis => ({ key, label: () => t(key), kind, example, apply: (s, v) => ({ ...s, [key]: Number(v) }) });
const choice = (key: "model" | "sampler" | "schedule", node: string, input: string): Axis => ({
    key, label: () => t(key), kind: "choice", example: "", offers: table => choices(table, node, input), apply: (s, v) => ({ ...s, [key]: v }),
});
/** "old=new" is put into the words in place of old; a text alone behind them. */
const changed = (words: string, value: string): string => {
    const at = value.indexOf("=");
    return at > 0 ? words.replaceAll(value.slice(0, at), value.slice(at + 1)) : [words, value].filter(Boolean).join(", ");
};

/** Everything that Draw asks for. */
export const AXES: Axis[] = [
    plain("seed", "whole", "1-4"), plain("steps", "whole", "8, 16, 32"), plain("cfg", "number", "2, 4, 8"),
    choice("sampler", "KSampler", "sampler_name"), choice("schedule", "KSampler", "scheduler"), choice("model", "CheckpointLoaderSimple", "ckpt_name"),
    { key: "lora", label: () => t("lora"), kind: "choice", example: "", offers: table => ["–", ...choices(table, "LoraLoader", "lora_name")],
      apply: (s, v) => ({ ...s, loras: v === "–" ? [] : [{ name: v, strength: s.loras[0]?.strength ?? 1 }] }) },
    { key: "strength", label: () => `LoRA ${t("strength")}`, kind: "number", example: "0, 0.5, 1", apply: (s, v) => ({ ...s, loras: s.loras.map(l => ({ ...l, strength: Number(v) })) }) },
    { key: "words", label: () => t("wordsAxis"), kind: "text", example: "red=blue, 3d style=flat style", apply: (s, v) => ({ ...s, words: changed(s.words, v) }) },
    { key: "negative", label: () => t("negative"), kind: "text", example: "blurry, dark", apply: (s, v) => ({ ...s, negative: changed(s.negative, v) }) },
    plain("width", "whole", "128, 192"), plain("height", "whole", "128, 192"),
];

/** "1-4, 8" is 1, 2, 3, 4, 8 for whole numbers; empty values are left out. Throws with a word for people. */
export function valuesOf(axis: Axis, text: string): string[] {
    const found = text.split(",").map(v => v.trim()).filter(Boolean).flatMap(v => {
        const range = axis.kind === "whole" ? /^(\d+)\s*-\s*(\d+)$/.exec(v) : null;
        if (!range) return [v];
        const from = Number(range[1]), to = Math.min(Number(range[2]), from + 63);
        return Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => String(from + i));
    });
    if (!found.length) throw new Error(`${axis.label()}: ${t("noValues")}`);
    const wrong = axis.kind === "whole" || axis.kind === "number" ? found.find(v => !Number.isFinite(Number(v))) : undefined;
    if (wrong !== undefined) throw new Error(`${axis.label()}: ${wrong}`);
    return found;
}

const escaped = (s: string): string => s.replace(/[&<>"]/g, c => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]!);

async function inline(p: Picture): Promise<string> {
    const blob = await (await fetch(pictureAddress(p))).blob();
    return new Promise((good, bad) => {
        const reader = new FileReader();
        reader.onload = () => good(reader.result as string);
        reader.onerror = () => bad(reader.error);
        reader.readAsDataURL(blob);
    });
}

/** A page with the pictures in it, to be kept or sent. */
export async function reportOf(base: Settings, across: [string, string[]], down: [string, string[]], cells: (Picture | undefined)[][]): Promise<Blob> {
    const facts = Object.entries({ [t("words")]: base.words, [t("negative")]: base.negative, [t("model")]: base.model, [t("size")]: `${base.width}×${base.height}`, [t("steps")]: base.steps, [t("cfg")]: base.cfg,
        [t("sampler")]: base.sampler, [t("schedule")]: base.schedule, [t("seed")]: base.seed, [t("lora")]: base.loras.map(l => `${l.name}:${l.strength}`).join(", ") }).filter(([, v]) => v !== "");
    const rows = await Promise.all(cells.map(async (row, y) => `<tr><th>${escaped(down[1][y])}</th>${(await Promise.all(row.map(async p => `<td>${p ? `<img alt="" src="${await inline(p)}">` : ""}</td>`))).join("")}</tr>`));
    return new Blob([`<!doctype html><meta charset="utf-8"><title>limn · ${escaped(across[0])} × ${escaped(down[0])}</title>
<style>body{font:15px system-ui,sans-serif;margin:2rem}td,th{padding:4px;text-align:left;font-weight:500}img{display:block;max-width:20rem}dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 1rem}dd{margin:0}</style>
<h1>${escaped(across[0])} × ${escaped(down[0])}</h1><dl>${facts.map(([k, v]) => `<dt>${escaped(k)}</dt><dd>${escaped(String(v))}</dd>`).join("")}</dl>
<table><tr><th></th>${across[1].map(v => `<th>${escaped(v)}</th>`).join("")}</tr>${rows.join("\n")}</table>`], { type: "text/html" });
}
