// Models: what lies in the folders, by kind, and what a file tells of itself.

import { get } from "../api";
import { fill, h } from "../dom";
import { complain } from "../parts/shell";
import { t } from "../words";

export function modelsPage(root: HTMLElement): { show(): void } {
    const kinds = h("nav", { className: "stack", "aria-label": t("kind") }), list = h("div", null);
    let kind = "checkpoints";
    fill(root, h("div", { className: "columns" }, h("div", { className: "panel" }, kinds), h("div", { className: "panel" }, list)));

    async function look(): Promise<void> {
        const [folders, files, places] = await Promise.all([
            get<string[]>("/api/models"), get<string[]>(`/api/models/${encodeURIComponent(kind)}`), get<Record<string, string[]>>("/internal/folder_paths").catch(() => ({}) as Record<string, string[]>),
        ]);
        fill(kinds, folders.map(f => h("button", { type: "button", className: "chip", "aria-pressed": String(f === kind), onclick: () => { kind = f; look().catch(complain); } }, f)));
        fill(list, h("h1", null, kind), h("p", { className: "quiet" }, (places[kind] ?? []).join(" · ")),
            files.length ? h("table", null, h("tbody", null, files.map(name => h("tr", null, h("td", null, name))))) : h("p", { className: "quiet" }, t("noFiles")));
    }
    return { show: () => void look().catch(complain) };
}
