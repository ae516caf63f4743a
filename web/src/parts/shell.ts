// What every page may use of the frame around it: to say something, to show another page with something in hand.

import { h } from "../dom";
import { ApiError } from "../api";
import type { Flow } from "../api";
import type { Word } from "../words";

/** What one page hands to another. */
export type Hand = {
    flow?: Flow; workflow?: unknown; file?: File; picture?: import("../api").Picture;
    told?: Partial<import("../told").Told>; // how a picture was made, where there is no flow
    lineage?: string; // of what
    run?: string; // a training's name
};
export type PageName = Extract<Word, "draw" | "flow" | "gallery" | "queue" | "models" | "data" | "train" | "evaluate">;

type Shell = { go(page: PageName, hand?: Hand): void; status: HTMLElement };
let shell: Shell;
export function setShell(s: Shell): void {
    shell = s;
}

export function go(page: PageName, hand?: Hand): void {
    shell.go(page, hand);
}

let timer = 0;
/** A line at the bottom, read aloud by screen readers; with a button if there is something to do about it. */
export function say(text: string, kind: "note" | "bad" = "note", action?: { label: string; run(): void }): void {
    clearTimeout(timer);
    shell.status.replaceChildren(h("span", null, text));
    if (action) shell.status.append(h("button", { type: "button", onclick: () => { shell.status.replaceChildren(); action.run(); } }, action.label));
    shell.status.className = `status ${kind}`;
    timer = window.setTimeout(() => shell.status.replaceChildren(), kind === "bad" ? 15000 : 6000);
}

export function complain(e: unknown): void {
    if (e instanceof ApiError) {
        const more = Object.values(e.nodes).flatMap(n => n.errors.map(x => `${n.class_type}: ${x.message}: ${x.details}`));
        say([...new Set([e.message, ...more])].join("\n"), "bad");
    } else say(e instanceof Error ? e.message : String(e), "bad");
}
