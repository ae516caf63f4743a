// Cleaning a data set: which pictures are better left out, each with its reason; and doubles side by side, to choose which stays.

import { nodeTable } from "../api";
import { fill, h } from "../dom";
import { nodeForm, showJob, type Values } from "../parts/form";
import type { Job } from "../parts/jobs";
import { complain, say } from "../parts/shell";
import { reasonOf, t } from "../words";
import { pager, pictureOf, type DataSet } from "./set";

/** As the node CleanDataset shows them. */
type Fault = { file_name: string; reason: string; found: string; of?: string };
const PAGE = 48, PAIRS = 20;

const faultsOf = (job: Job): Fault[] => job.outputs.flatMap(o => (o.faults ?? []) as unknown as Fault[]);

/** A look for faults as a job; what it found goes to `found`. */
async function lookFor(set: DataSet, heading: string, fixed: Values, actions: { label: "lookForBad" | "lookForDoubles" | "leaveAllOut"; main?: boolean; apply: boolean }[],
    found: (faults: Fault[], applied: boolean) => void): Promise<HTMLElement[]> {
    const info = (await nodeTable()).CleanDataset, how = h("div", null);
    let seen: Job | undefined;
    const form = nodeForm(info, job => {
        const faults = faultsOf(job), apply = job.flow["1"].inputs.apply === true;
        showJob(how, job, false);
        if (job.state !== "done" || seen === job) return;
        seen = job;
        if (job.texts[0]) how.append(h("p", null, job.texts[0].split("\n")[0]));
        found(faults, apply);
    }, { heading: false, fixed: { folder: set.name, ...fixed }, actions: actions.map(a => ({ label: a.label, main: a.main, values: { apply: a.apply } })) });
    return [h("div", { className: "panel" }, h("p", { className: "quiet" }, heading), form, how)];
}

export async function cleanView(place: HTMLElement, set: DataSet): Promise<void> {
    const grid = h("div", { className: "stack" });
    let faults: Fault[] = [], applied = false;
    const undo = h("button", { type: "button", onclick: () => {
        set.change<{ count: number }>("/undo", { what: "clean" }).then(r => {
            say(`${r.count} ${t("usedAgain")}`);
            applied = false;
            set.changed();
            show(0);
        }, complain);
    } }, t("undoClean"));

    function show(offset: number): void {
        fill(grid,
            faults.length > 0 && h("div", { className: "figures" }, faults.slice(offset, offset + PAGE).map(f => figure(f))),
            faults.length > PAGE && pager(offset, PAGE, faults.length, show));
    }
    function figure(f: Fault): HTMLElement {
        const made = h("figure", { className: applied ? "out" : "" }, pictureOf(set, f.file_name, f.file_name),
            h("figcaption", { title: f.file_name }, f.file_name.split("/").pop()),
            h("p", { className: "reason" }, h("strong", null, reasonOf(f.reason)), `: ${f.found}`),
            h("button", { type: "button", onclick: () => {
                set.change("", { file_name: f.file_name, excluded: applied ? null : f.reason }).then(() => {
                    made.remove();
                    faults = faults.filter(x => x !== f);
                    set.changed();
                }, complain);
            } }, t(applied ? "useAgain" : "leaveOut")));
        return made;
    }

    fill(place, await lookFor(set, t("cleanAbout"), {}, [{ label: "lookForBad", main: true, apply: false }, { label: "leaveAllOut", apply: true }], (found, apply) => {
        [faults, applied] = [found, apply];
        if (apply) set.changed();
        show(0);
    }), h("div", { className: "row" }, undo), grid);
}

export async function doublesView(place: HTMLElement, set: DataSet): Promise<void> {
    const list = h("div", { className: "stack" });
    let pairs: Fault[] = [];

    function show(offset: number): void {
        fill(list, pairs.length ? pairs.slice(offset, offset + PAIRS).map(pair) : h("p", { className: "quiet" }, t("noDoubles")),
            pairs.length > PAIRS && pager(offset, PAIRS, pairs.length, show));
    }
    function pair(f: Fault): HTMLElement {
        const made = h("article", { className: "panel pair" });
        const side = (file: string, keeps: boolean): HTMLElement => h("figure", null, pictureOf(set, file, file, 512),
            h("figcaption", { title: file }, file.split("/").pop(), keeps && h("span", { className: "quiet" }, ` · ${t("better")}`)),
            h("button", { type: "button", onclick: () => out(file) }, t("leaveOut")));
        const out = (file: string): void => {
            set.change("", { file_name: file, excluded: f.reason }).then(() => {
                set.changed();
                const back = (): void => void set.change("", { file_name: file, excluded: null }).then(() => { set.changed(); made.replaceWith(pair(f)); }, complain);
                fill(made, h("p", null, `${t("leftOut")}: ${file}`), h("button", { type: "button", onclick: back }, t("undo")));
            }, complain);
        };
        fill(made, h("p", { className: "reason" }, h("strong", null, reasonOf(f.reason)), ` ${f.found}`),
            h("div", { className: "sides" }, side(f.of!, true), side(f.file_name, false)),
            h("div", { className: "row centre" }, h("button", { type: "button", onclick: () => { made.remove(); pairs = pairs.filter(x => x !== f); } }, t("keepBoth"))));
        return made;
    }

    fill(place, await lookFor(set, t("doublesAbout"), { min_side: 1, elongated: 100, blur: 1, captions: false }, [{ label: "lookForDoubles", main: true, apply: false }], found => {
        pairs = found.filter(f => f.of);
        show(0);
    }), list);
}
