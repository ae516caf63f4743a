// Looking a data set through: a page of pictures, each with its caption, which can be changed, and whether it is used.

import { fill, h, settle } from "../dom";
import { complain, go } from "../parts/shell";
import { reasonOf, t, type Word } from "../words";
import { pager, pictureOf, type DataSet, type Entry } from "./set";

const PAGE = 48;
const ONLY: Record<string, Word> = { all: "all", used: "used", excluded: "leftOut", uncaptioned: "uncaptioned" };

export async function lookView(place: HTMLElement, set: DataSet): Promise<void> {
    const only = h("select", { "aria-label": t("show"), onchange: () => show(0) }, Object.entries(ONLY).map(([v, w]) => h("option", { value: v }, t(w))));
    const words = h("input", { type: "search", placeholder: t("searchCaptions"), "aria-label": t("searchCaptions"), oninput: settle(250, () => show(0)) });
    const grid = h("div", { className: "figures" }), ends = [h("div", null), h("div", null)];
    fill(place, h("div", { className: "row" }, h("div", { className: "grow" }, words), h("div", null, only), ends[0]), grid, ends[1]);
    let asked = 0;

    function figure(p: Entry): HTMLElement {
        const text = h("textarea", { rows: 2, value: p.text, "aria-label": `${t("caption")} ${p.file_name}`, onchange: () => {
            set.change("", { file_name: p.file_name, text: text.value }).then(() => void (p.text = text.value), complain);
        } });
        const made = h("figure", { className: p.excluded ? "out" : "" },
            pictureOf(set, p.file_name, p.text || p.file_name),
            h("figcaption", { title: p.file_name }, p.file_name.split("/").pop(), p.width ? ` · ${p.width}×${p.height}` : ""),
            p.excluded && h("p", { className: "reason" }, `${t("leftOut")}: ${reasonOf(p.excluded)}`), text,
            p.id && h("button", { type: "button", className: "plain", title: t("cameOfIt"), "aria-label": `${t("cameOfIt")}: ${p.file_name}`, onclick: () => go("gallery", { lineage: `training:${p.id}` }) }, "⇢"),
            h("button", { type: "button", onclick: () => {
                const excluded = p.excluded ? null : t("byHand");
                set.change("", { file_name: p.file_name, excluded }).then(() => {
                    p.excluded = excluded ?? undefined;
                    made.replaceWith(figure(p));
                    set.changed();
                }, complain);
            } }, t(p.excluded ? "useAgain" : "leaveOut")));
        return made;
    }

    async function load(offset: number): Promise<void> {
        const mine = ++asked;
        const found = await set.ask<{ total: number; pictures: Entry[] }>("", { offset, limit: PAGE, only: only.value, words: words.value });
        if (mine !== asked) return; // somebody typed on
        fill(grid, found.pictures.length ? found.pictures.map(figure) : h("p", { className: "quiet" }, t("noPictures")));
        for (const end of ends) fill(end, pager(offset, PAGE, found.total, show));
    }
    const show = (offset: number): void => void load(offset).catch(complain);
    await load(0);
}
