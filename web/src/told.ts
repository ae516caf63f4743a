// How a picture was made, as its file tells it: the server reads PNG, JPEG and WebP, of limn, ComfyUI and A1111's web UI.

import { post, type Flow } from "./api";
import { settingsOf, type Found } from "./settings";

export type Told = {
    width: number; height: number; prompt?: string; negative?: string; model?: string; sampler?: string; schedule?: string; steps?: number; cfg?: number; strength?: number;
    seed?: number | string; loras: { name: string; scale: number }[]; graph?: string; workflow?: string; parameters?: string;
};

export const toldBy = (file: Blob): Promise<Told> => post<Told>("/limn/told", file);

/** Whether there is anything to take. */
export const tellsSettings = (told: Told): boolean => told.prompt !== undefined || told.steps !== undefined || told.graph !== undefined;

export function graphOf(told: Told): Flow | undefined {
    try {
        return told.graph ? (JSON.parse(told.graph) as Flow) : undefined;
    } catch {
        return undefined; // not JSON
    }
}

/** What its file tells as settings of Draw; `known` are the names that this server has. */
export function settingsTold(told: Told, known: { models: string[]; loras: string[]; samplers: string[]; schedules: string[] }): Found {
    const graph = graphOf(told), found: Found = graph ? settingsOf(graph) : {};
    // a model's or LoRA's name is told without folder and ending
    const called = (names: string[], name: string): string | undefined => names.find(n => n === name) ?? names.find(n => n.split("/").pop()!.replace(/\.[^.]+$/, "") === name);
    if (!Object.keys(found).length) {
        Object.assign(found, { words: told.prompt, negative: told.negative, steps: told.steps, cfg: told.cfg, denoise: told.strength, width: told.width, height: told.height });
        if (told.seed !== undefined) found.seed = Number(told.seed);
        found.sampler = told.sampler;
        found.schedule = told.schedule;
        found.model = told.model;
        found.loras = told.loras.map(l => ({ name: l.name, strength: l.scale }));
        // A1111 and limn write LoRAs among the words
        found.words = found.words?.replace(/<lora:[^>]*>/g, "").trim();
        if (told.prompt !== undefined) found.negative ??= "";
    }
    found.model = found.model === undefined ? undefined : called(known.models, found.model);
    found.loras = (found.loras ?? []).flatMap(l => { const name = called(known.loras, l.name); return name ? [{ ...l, name }] : []; });
    if (!known.samplers.includes(found.sampler ?? "")) delete found.sampler;
    if (!known.schedules.includes(found.schedule ?? "")) delete found.schedule;
    for (const key of Object.keys(found) as (keyof Found)[]) if (found[key] === undefined) delete found[key];
    return found;
}
