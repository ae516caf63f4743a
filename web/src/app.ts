// The frame: tabs, language, light or dark. A page is made when it is first shown and stays as it is.

import "./style.css";
import { socket } from "./api";
import { fill, h, kept } from "./dom";
import { drawPage } from "./pages/draw";
import { complain, say, setShell, type Hand, type PageName } from "./parts/shell";
import { languages, setLanguage, t, type Language } from "./words";

type Page = { show(hand?: Hand): void; hide?(): void };
type Maker = (root: HTMLElement) => Page | Promise<Page>;

/** Draw is there at once; the others are loaded when somebody looks at them. */
const makers: Record<PageName, Maker> = {
    draw: drawPage,
    flow: async root => (await import("./pages/flow")).flowPage(root),
    gallery: async root => (await import("./pages/gallery")).galleryPage(root),
    queue: async root => (await import("./pages/queue")).queuePage(root),
    models: async root => (await import("./pages/models")).modelsPage(root),
    data: async root => (await import("./pages/data")).dataPage(root),
    train: async root => (await import("./pages/train")).trainPage(root),
    evaluate: async root => (await import("./pages/evaluate")).evaluatePage(root),
};
const names = Object.keys(makers) as PageName[];

const chosenLanguage = kept<Language>("language", navigator.language.startsWith("zh") ? "zh" : "en");
const chosenTheme = kept<"light" | "dark" | "">("theme", "");

function build(): void {
    setLanguage(languages.includes(chosenLanguage.get()) ? chosenLanguage.get() : "en");
    document.documentElement.dataset.theme = chosenTheme.get();
    const pages = new Map<PageName, { root: HTMLElement; page: Promise<Page> }>();
    const tabs = h("nav", { "aria-label": "limn" });
    const main = h("main", null);
    const status = h("div", { className: "status", role: "status", "aria-live": "polite" });
    let now: PageName | undefined;

    const go = (name: PageName, hand?: Hand): void => {
        if (now && now !== name) {
            const before = pages.get(now)!;
            before.root.hidden = true;
            before.page.then(p => p.hide?.(), () => undefined);
        }
        now = name;
        let entry = pages.get(name);
        if (!entry) {
            const root = h("section", { "aria-label": t(name) });
            entry = { root, page: Promise.resolve(makers[name](root)) };
            entry.page.catch(e => { pages.delete(name); root.remove(); complain(e); });
            pages.set(name, entry);
            main.append(root);
        }
        entry.root.hidden = false;
        entry.page.then(p => now === name && p.show(hand), () => undefined);
        if (location.hash !== `#${name}`) history.pushState(null, "", `#${name}`);
        document.title = `limn · ${t(name)}`;
        for (const tab of tabs.querySelectorAll("a")) {
            if (tab.dataset.page === name) {
                tab.setAttribute("aria-current", "page");
                tabs.scrollTo({ left: tab.offsetLeft - tabs.clientWidth / 2 }); // on a telephone not all fit
            }
            else tab.removeAttribute("aria-current");
        }
    };
    const fromAddress = (): PageName => names.find(n => `#${n}` === location.hash) ?? "draw";
    window.onpopstate = () => go(fromAddress());
    setShell({ go, status });

    fill(tabs, names.map(n => h("a", { href: `#${n}`, "data-page": n, onclick: (e: Event) => { e.preventDefault(); go(n); } }, t(n))));
    const dark = (): boolean => (chosenTheme.get() || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
    fill(document.getElementById("app")!,
        h("header", null,
            h("span", { className: "name" }, "limn"), tabs,
            h("span", { className: "corner" },
                h("button", { type: "button", lang: t("language") === "中文" ? "zh-CN" : "en", onclick: () => { chosenLanguage.set(chosenLanguage.get() === "zh" ? "en" : "zh"); build(); } }, t("language")),
                h("button", { type: "button", "aria-label": t("dark"), title: t("dark"), onclick: () => {
                    chosenTheme.set(dark() ? "light" : "dark");
                    document.documentElement.dataset.theme = chosenTheme.get();
                } }, "◐"))),
        main, status);
    go(fromAddress());
}

build();

let lost = false, fault = "";
socket.listen(m => {
    if (m.type === "closed" && !lost) {
        lost = true;
        say(t("gone"), "bad");
    } else if (m.type === "open" && lost) {
        lost = false;
        say(t("back"));
    } else if (m.type === "status") {
        const now = (m.data as { status?: { fault?: string } }).status?.fault ?? "";
        if (now && now !== fault) say(now, "bad"); // the database or its disk refuses
        else if (!now && fault) say(t("back"));
        fault = now;
    }
});
socket.start();
