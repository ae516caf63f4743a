// Captions of a whole set at once: tags added, taken out, replaced, or a template; seen before it is done, and undone.

import { fill, h } from "../dom";
import { complain, say } from "../parts/shell";
import { t, type Word } from "../words";
import { pictureOf, type DataSet } from "./set";

type Change = { file_name: string; was: string; now: string };
type Said = { changed: number; same: number; shown: Change[] };

export async function captionsView(place: HTMLElement, set: DataSet): Promise<void> {
    const text = (label: Word, example: string): [HTMLElement, HTMLInputElement] => {
        const input = h("input", { type: "text", placeholder: example });
        return [h("label", null, t(label), input), input];
    };
    const check = (label: Word): [HTMLElement, HTMLInputElement] => {
        const input = h("input", { type: "checkbox" });
        return [h("label", { className: "check" }, input, t(label)), input];
    };
    const [template, templateText] = text("template", "{name}, {text}"), [prefix, prefixText] = text("tagsBefore", "mystyle"), [suffix, suffixText] = text("tagsBehind", "white background");
    const [remove, removeText] = text("tagsRemove", "watermark, blurry*"), [replace, replaceText] = text("tagsReplace", "kitty=cat; puppy=dog");
    const [missing, missingBox] = check("onlyMissing"), [unique, uniqueBox] = check("uniqueTags"), [spaces, spacesBox] = check("tagSpaces");
    const result = h("div", { className: "stack" });
    const list = (input: HTMLInputElement, cut: string): string[] => input.value.split(cut).map(v => v.trim()).filter(Boolean);

    async function change(dry: boolean): Promise<void> {
        const said = await set.change<Said>("/captions", {
            template: templateText.value, prefix: prefixText.value, suffix: suffixText.value, remove: list(removeText, ","), replace: list(replaceText, ";"),
            only_missing: missingBox.checked, unique: uniqueBox.checked, spaces: spacesBox.checked, dry_run: dry,
        });
        fill(result,
            h("p", null, `${said.changed} ${t(dry ? "wouldChange" : "changed")}, ${said.same} ${t("staySame")}`),
            said.shown.length > 0 && h("table", { className: "changes" }, h("tbody", null, said.shown.map(c => h("tr", null,
                h("td", null, pictureOf(set, c.file_name, c.file_name, 128)), h("td", null, h("del", null, c.was || "–"), h("br"), h("ins", null, c.now || "–")))))));
        if (!dry) say(`${said.changed} ${t("changed")}`, "note", { label: t("undo"), run: () => void undo().catch(complain) });
    }
    async function undo(): Promise<void> {
        const said = await set.change<{ count: number }>("/undo", { what: "caption" });
        fill(result, h("p", null, `${said.count} ${t("asBefore")}`));
    }

    fill(place, h("form", { className: "panel", onsubmit: (e: Event) => { e.preventDefault(); change(true).catch(complain); } },
        h("p", { className: "quiet" }, t("captionsAbout")),
        h("div", { className: "fields" }, prefix, suffix, remove, replace, template), h("div", { className: "row" }, missing, unique, spaces),
        h("div", { className: "row" }, h("button", { type: "submit", className: "main" }, t("preview")),
            h("button", { type: "button", onclick: () => change(false).catch(complain) }, t("changeAll")),
            h("button", { type: "button", onclick: () => undo().catch(complain) }, t("undoCaptions")))), result);
}
