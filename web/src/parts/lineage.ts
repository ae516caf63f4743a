// Where a picture comes from and what came of it: its model and LoRAs, the training and step that made them, the pictures they learnt from.

import { address, get, pictureAddress } from "../api";
import { fill, h } from "../dom";
import { t, type Word } from "../words";
import { go } from "./shell";

/** As GET /limn/gallery/ID/lineage answers. */
type Thing = {
    kind?: "picture" | "weights" | "run" | "training"; more?: number; id?: number; hash?: string; name?: string; type?: string; run?: string; step?: number; path?: string; settings?: string;
    caption?: string; by?: string; from?: Thing[]; to?: Thing[];
};

/** `which`: a picture's id, or "training:" and a hash. */
export async function showLineage(which: string, place: HTMLElement, openPicture: (id: number) => void): Promise<void> {
    const found = await get<{ what: Thing; from: Thing[]; to: Thing[] }>(`/limn/gallery/${encodeURIComponent(which)}/lineage`);
    const last = (path: string): string => path.split("/").filter(Boolean).pop() ?? path;

    function small(thing: Thing, set?: string): HTMLElement | undefined {
        if (thing.kind === "picture" && thing.id !== undefined)
            return h("button", { type: "button", className: "thumb", title: `${t("picture")} ${thing.id}`, onclick: () => openPicture(thing.id!) }, h("img", { src: address(`/limn/gallery/${thing.id}/file`, { small: 128 }), alt: `${t("picture")} ${thing.id}`, loading: "lazy" }));
        if (thing.kind !== "training" || !set || !thing.name) return undefined;
        const parts = thing.name.split("/"), name = parts.pop()!;
        return h("span", { className: "thumb", title: thing.caption || thing.name }, h("img", { src: pictureAddress({ filename: name, subfolder: [set, ...parts].join("/"), type: "input" }, 128), alt: thing.caption || thing.name, loading: "lazy" }));
    }

    function words(thing: Thing): (HTMLElement | string)[] {
        if (thing.kind === "weights") return [h("strong", null, thing.type === "lora" ? "LoRA " : `${t("model")} `, thing.name ?? thing.hash?.slice(0, 12) ?? ""), thing.step ? ` · ${t("step")} ${thing.step}` : "", thing.by === "name" ? ` (${t("byName")})` : ""];
        if (thing.kind === "run") return [`${t("training")} `, h("button", { type: "button", className: "chip inline", onclick: () => { place.closest("dialog")?.close(); go("train", { run: last(thing.run!) }); } }, last(thing.run!))];
        return [thing.name ?? thing.hash?.slice(0, 12) ?? (thing.more ? `+ ${thing.more}` : "")];
    }

    function list(things: Thing[], set?: string): HTMLElement | null {
        if (!things.length) return null;
        const shown = things.map(x => small(x, set)), pictures = shown.filter(s => s !== undefined);
        return h("ul", { className: "lineage" },
            pictures.length > 0 && h("li", { className: "strip" }, pictures),
            things.map((thing, i) => {
                let own = set;
                try {
                    if (thing.kind === "run" && thing.settings) own = last(String((JSON.parse(thing.settings) as { dataset?: string }).dataset ?? ""));
                } catch {
                    // settings of another program
                }
                const next = list(thing.from ?? thing.to ?? [], own);
                return shown[i] && !next ? null : h("li", null, shown[i] ? `${t("picture")} ${thing.id ?? thing.name}` : words(thing), next);
            }));
    }

    const part = (label: Word, things: Thing[]): HTMLElement => h("section", null, h("h3", null, t(label)), list(things) ?? h("p", { className: "quiet" }, t("nothingKnown")));
    const all = h("div", { className: "stack" });
    fill(all, found.what.kind === "training" ? null : part("comesFrom", found.from), part("cameOfIt", found.to));
    place.append(all);
}
