// What the views of Data share: the set that is open, its pictures, pages of a list.

import { pictureAddress } from "../api";
import { h } from "../dom";
import { t } from "../words";

export type DataSet = {
    name: string;
    ask<T>(path: string, query?: Record<string, string | number | undefined>): Promise<T>;
    change<T>(path: string, body: object): Promise<T>;
    changed(): void; // how many pictures it has may be another
};
export type Entry = { file_name: string; text: string; id?: string; excluded?: string; width?: number; height?: number };

/** A picture of the set, small; without a size as it is. */
export function addressOf(set: DataSet, file: string, small?: number): string {
    const parts = file.split("/"), name = parts.pop()!;
    return pictureAddress({ filename: name, subfolder: [set.name, ...parts].join("/"), type: "input" }, small);
}

export function pictureOf(set: DataSet, file: string, alt: string, small = 256): HTMLElement {
    return h("a", { href: addressOf(set, file), target: "_blank", className: "framed" }, h("img", { src: addressOf(set, file, small), alt, loading: "lazy" }));
}

/** Which pictures of how many are seen, and the way to the others. */
export function pager(offset: number, page: number, total: number, go: (offset: number) => void): HTMLElement {
    const last = Math.min(offset + page, total);
    return h("div", { className: "row centre pager" },
        h("button", { type: "button", disabled: offset <= 0, "aria-label": t("before"), onclick: () => go(Math.max(0, offset - page)) }, "←"),
        h("span", { className: "quiet" }, total ? `${offset + 1}–${last} / ${total}` : "0"),
        h("button", { type: "button", disabled: last >= total, "aria-label": t("next"), onclick: () => go(offset + page) }, "→"));
}
