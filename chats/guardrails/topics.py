"""Questions that are nobody's business at a help desk: seen by what they ask for and by what the bot knows.

Tasks that any model would gladly do (verses, programs, homework) are another topic wherever the bot's own topics do
not speak of them. Questions about the world are only where nothing that the bot was taught speaks of them either.
"""

from __future__ import annotations

import re
from typing import Final

from chats.choices import GuardKind, OffTopic
from chats.guardrails.attacks import Hit
from chats.models import Bot
from chats.policies import Policy
from knowledge.answering import SMALL_TALK, Grounding
from knowledge.citations import stems

FACTS_COVERAGE: Final = 0.5

MAKE: Final = (
    r"(?:write|compose|create|generate|make up|invent|draft|tell|give|make|schreib\w*|verfass\w*|"
    r"dicht\w*|erzahl\w*|ecri\w*|"
    r"redige\w*|compos\w*|racont\w*|escrib\w*|redact\w*|cuenta\w*|invent\w*|erfind\w*|denk dir|"
    r"scriv\w*|raccont\w*|escrev\w*|conta\w*|schrijf|"
    r"vertel|verzin|napisz|opowiedz|напиши\w*|сочини\w*|расскажи\w*|yaz\b|anlat)"
)
TASKS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    (
        "verse or story",
        re.compile(
            MAKE + r"(?: \S+){0,5} (?:poems?|sonnets?|haikus?|limericks?|lyrics|rap\b|song|fairy ?tale|bedtime story|"
            r"short story|novel|screenplay|fan ?fiction|joke|riddle|gedicht\w*|liedtext|marchen|witz\w*|"
            r"kurzgeschichte|poeme|chanson|blague|conte\b|histoire drole|poema|cancion|chiste|cuento|poesia|"
            r"canzone|barzelletta|favola|piada|gedicht|mop\b|grap\b|wiersz|dowcip|стих\w*|анекдот\w*|siir|"
            r"fikra)\b"
        ),
    ),
    (
        "essay or homework",
        re.compile(
            MAKE + r"(?: \S+){0,5} (?:essay|thesis|dissertation|book report|homework|cover letter|speech|aufsatz|"
            r"hausarbeit|bewerbungsschreiben|dissertation|redaction|expose|lettre de motivation|ensayo|"
            r"redaccion|tema|saggio|redacao|opstel)\b|\b(?:do|solve|help (?:me )?with|mach\w*|losen?|aide\w*|"
            r"haz|ayuda\w*|aiuta\w*|fai|ajuda\w*) (?:\S+ ){0,4}(?:homework|hausaufgabe\w*|devoirs|deberes|"
            r"compiti|huiswerk)\b"
        ),
    ),
    (
        "homework",
        re.compile(
            r"\b(?:homework|hausaufgaben?|schulaufgabe\w*|devoirs (?:de|scolaires)|deberes (?:de|del)|"
            r"compiti (?:di|per)|licao de casa|tarea (?:de|del colegio)|huiswerk|exam (?:questions|answers)|"
            r"school (?:project|essay))\b"
        ),
    ),
    (
        "program",
        re.compile(
            r"\b(?:write|create|code|debug|fix|implement|explain|schreib\w*|programmier\w*|ecri\w*|escrib\w*|"
            r"scriv\w*|escrev\w*|schrijf)(?: \S+){0,6} (?:python|javascript|java|c\+\+|rust|golang|php|sql|"
            r"bash|regex|html|algorithm|function|script|programm?|algorithmus|funktion|fonction|funcion|"
            r"funzione|funcao|quicksort|fibonacci|for loop|recursion)\b|\b(?:python|javascript|java|sql|"
            r"bash) (?:code|script|function|query|program)"
        ),
    ),
    (
        "sum",
        re.compile(
            r"(?:solve|calculate|compute|integrate|differentiate|factor|berechne|lose|calcule\w*|resous|"
            r"resuelv\w*|calcola|risolvi|resolv\w*|bereken)\b.{0,30}(?:\d+ ?[-+*/^x×]|x\^|x²|equation|"
            r"gleichung|integral|derivative|square root|quadratwurzel|racine carree|ecuacion|equazione|"
            r"equacao|vergelijking)|what(?:'s| is) \d+ ?(?:\*|x|times|plus|minus|divided by|\+|/|\^) ?\d+|"
            r"\bsquare root of \d"
        ),
    ),
    (
        "translation",
        re.compile(
            r"\b(?:translate|ubersetz\w*|tradui\w*|traduc\w*|traduz\w*|vertaal)\b.{0,60}\b(?:into|to|in|ins|"
            r"en|al|in het|para|naar)\b ?(?:the )?(?:english|german|french|spanish|italian|latin|japanese|"
            r"chinese|klingon|russian|englisch\w*|deutsch\w*|franzosisch\w*|spanisch\w*|anglais|allemand|"
            r"espagnol|ingles|frances|aleman|inglese|francese|tedesco|ingles|engels|duits|frans)"
        ),
    ),
    (
        "play a part",
        re.compile(
            r"\b(?:role ?play|pretend to be|act (?:like|as) (?:a|an|my)|play the (?:part|role) of|spiel(?:e|"
            r"st)? (?:den|die|einen?) |joue le role|actua como|haz de cuenta|fingi|simula(?:r|te)?)\b.{0,60}"
        ),
    ),
    (
        "game",
        re.compile(
            r"\b(?:let's|let us|lass uns|jouons|juguemos|giochiamo|vamos jogar)\b.{0,30}\b(?:play|game|"
            r"spiel\w*|jeu|chess|tic.?tac.?toe|hangman|juego|gioco|jogo|echecs|ajedrez|20 questions)\b|"
            r"\bjouons\b|\bjuguemos\b|\bgiochiamo\b"
        ),
    ),
)
WORLD: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    (
        "programming",
        re.compile(
            r"\b(?:css|html|div\b|javascript|typescript|python|react(?:js)?\b|node\.?js|docker|kubernetes|"
            r"git (?:commit|rebase|merge)|linux|ubuntu|sql\b|regex|compiler?|algorithm\w*|algoritm\w*|"
            r"recursi\w*|pandas|numpy|tensorflow|excel formula|spreadsheet formula|for loop|null ?pointer|"
            r"stack ?overflow|segfault|programming language|programmiersprache|langage de programmation|"
            r"lenguaje de programacion|linguaggio di programmazione)\b"
        ),
    ),
    (
        "geography",
        re.compile(
            r"\b(?:(?:how (?:tall|high|long|deep|far|big|old|many people)|wie (?:hoch|lang|tief|weit|gross|"
            r"alt|viele (?:menschen|einwohner|lander))|quelle est la (?:hauteur|longueur|population|"
            r"superficie|distance)|combien (?:d'habitants|de pays|de planetes)|que tan (?:alto|lejos|largo)|"
            r"cuan(?:tos)? (?:habitantes|paises|planetas)|quanto e (?:alto|lungo|distante)|quanti (?:abitanti|"
            r"paesi|pianeti)|qual e a (?:altura|populacao|distancia)|hoe (?:hoog|lang|"
            r"ver))\b.{0,40}\b(?:mount|mont|monte|berg|everest|kilimanjaro|river|fluss|nile|nil|amazon(?:as|"
            r"e)?|moon|mond|lune|luna|sun|sonne|soleil|sol|sole|earth|erde|terre|tierra|terra|planet\w*|"
            r"galax\w*|ocean\w*|ozean\w*|eiffel\w*|pyramid\w*|china|india|brazil|canada|russia|africa|afrika|"
            r"europe|europa|world|welt|monde|mundo|mondo|wereld)|(?:longest|largest|biggest|highest|tallest|"
            r"deepest|fastest|oldest|smallest) (?:river|country|city|mountain|ocean|animal|planet|lake|"
            r"building|desert)|(?:langste|grosste|hochste|tiefste|schnellste) (?:fluss|land|stadt|berg|ozean|"
            r"tier|planet|see)|(?:plus (?:long|grand|haut|petit)\w*) (?:fleuve|pays|ville|montagne|animal|"
            r"planete|desert)|(?:rio|pais|animal|planeta|montana|fiume|paese|animale|montagna) (?:mas|"
            r"piu) \w+|which (?:planet|continent|ocean)|in welchem (?:land|jahr (?:begann|endete|wurde))|"
            r"continents?|kontinente?|continentes?)\b"
        ),
    ),
    (
        "general knowledge",
        re.compile(
            r"\b(?:capital (?:city )?of|hauptstadt|capitale (?:de|d'|del|della|du|of)|capital (?:de|do|da)|"
            r"population of|einwohner hat|who (?:invented|discovered|wrote|painted|directed|composed|won the|"
            r"was the first|is the (?:president|king|queen|prime minister|ceo|richest))|"
            r"wer (?:hat .{0,40}(?:erfunden|geschrieben|gemalt|entdeckt)|war der erste|"
            r"ist (?:der )?(?:prasident|kanzler))|qui (?:a (?:invente|ecrit|peint|decouvert)|est le president|"
            r"etait)|quien (?:invento|escribio|pinto|descubrio|es el presidente|gano)|chi (?:ha (?:inventato|"
            r"scritto|dipinto|scoperto|vinto)|e il presidente)|quem (?:inventou|escreveu|pintou|descobriu|"
            r"e o presidente)|how (?:far|big|old|tall|heavy) (?:away )?(?:is|are) the (?:moon|sun|earth|"
            r"universe|eiffel|mount|planet|pyramid)|black holes?|aliens?\b|extraterrest\w*|ausserirdisch\w*|"
            r"planets?\b|planeten?\b|planetes?\b|planetas?\b|pianet\w*|solar system|sonnensystem|"
            r"systeme solaire|sistema solar\w*|universe|universum|univers\b|universo|world war|weltkrieg|"
            r"guerre mondiale|guerra mundial|guerra mondiale|roman empire|(?:when|wann|quand|cuando|"
            r"quando) (?:\w+ ){0,3}(?:die|died|born|gestorben|geboren|mort|ne|murio|nacio|morto|nato|morreu|"
            r"nasceu|discovered|invented|(?:begin|began|beginn\w*|commence|empezo)\b.{0,30}(?:war|krieg|"
            r"guerre|guerra|revolution|revolucion|rivoluzione))\b.{0,50}|who (?:was|is|were) [a-z]+ [a-z]+\?|"
            r"napoleon|einstein|shakespeare|mozart|beethoven|picasso|cleopatra|kleopatra|julius caesar|"
            r"gravity|schwerkraft|speed of light|lichtgeschwindigkeit|vitesse de la lumiere|"
            r"velocidad de la luz|dna\b|periodic table|why is the sky|warum ist der himmel|pourquoi le ciel|"
            r"por que el cielo|perche il cielo|philosoph\w*|filosof\w*|existence of god|gibt es gott|"
            r"dieu existe|existe dios|french revolution|dinosaur\w*|photosynthe\w*|fotosintesi\w*|quantum|"
            r"theory of relativity|relativitatstheorie|meaning of life|sinn des lebens|sens de la vie|"
            r"sentido de la vida|senso della vita)\b"
        ),
    ),
    (
        "news and politics",
        re.compile(
            r"\b(?:election|elections|wahl(?:en|ergebnis)|bundestag|president of the|politic\w*|politik\w*|"
            r"politique|elecciones|elezioni|eleicoes|republican|democrat|trump|biden|putin|ukraine war|"
            r"latest news|today's news|headlines|nachrichten von heute|actualites|noticias|notizie|vote for|"
            r"wen soll ich wahlen|pour qui voter|por quien (?:debo )?votar|stock (?:price|market)|bitcoin|"
            r"crypto\w*|kryptowahrung|should i (?:invest|buy (?:shares|stocks))|aktien (?:kaufen|soll))\b"
        ),
    ),
    (
        "sport",
        re.compile(
            r"\b(?:world cup|weltmeisterschaft|coupe du monde|mundial de|coppa del mondo|copa do mundo|"
            r"champions league|ligue des champions|liga de campeones|(?:who|wer|qui|quien|chi|quem|"
            r"wie) (?:\w+ ){0,2}(?:won|win|wins|gewonnen|gewinnt|gagne|gano|ganara|vinto|vince|ganhou|"
            r"gewonnen)\b.{0,50}|grand slam|tour de france|(?:cristiano )?ronaldo|messi\b|super ?bowl|nba|nfl|"
            r"premier league|bundesliga|la liga|serie a|olympi\w*|olimp\w*|football (?:match|game|score)|"
            r"fussballspiel|match de foot|partido de (?:futbol|anoche)|formula (?:1|one)|formel 1|"
            r"wimbledon)\b"
        ),
    ),
    (
        "weather",
        re.compile(
            r"\b(?:(?:the|s) weather (?:\w+ ){0,2}(?:like|in|today|tomorrow|be|forecast|report)|"
            r"weather (?:forecast|today|tomorrow|report|in [a-z]+)|wetter(?:bericht|vorhersage)?|"
            r"wie warm wird|meteo|quel temps|que tiempo|tiempo hara|pronostico del tiempo|che tempo|"
            r"previsao do tempo|wat voor weer|het weer|will it rain|regnet es)\b"
        ),
    ),
    (
        "health, law, love",
        re.compile(
            r"\b(?:headache|migraine|fever|kopfschmerz\w*|fieber|mal de tete|fievre|dolor de cabeza|fiebre|"
            r"mal di testa|febbre|dor de cabeca|symptoms? of|symptome|sintomas|diagnos\w*|which (?:pills|"
            r"medication|medicine)|antibiotic\w*|(?:lose|drop|gain|perdre|perder|perdere|"
            r"verlieren) (?:\S+ ){0,3}(?:weight|pounds|kilos?|kg|poids|peso)|abnehmen|afvallen|calories|"
            r"kalorien|vitamin\w*|adelgazar|dimagrire|diet plan|divorce|scheidung|dating advice|"
            r"boyfriend (?:to|love)|girlfriend (?:to|love)|workout|trainingsplan|horoscope|horoskop|horoscopo|"
            r"oroscopo|zodiac|sternzeichen|lottery numbers|lottozahlen|dream mean)\b"
        ),
    ),
    (
        "kitchen and leisure",
        re.compile(
            r"\b(?:recipe (?:for|of)|rezept (?:fur|von)|recette (?:de|du|d'|pour)|receta (?:de|para)|"
            r"ricetta (?:di|per|della)|receita (?:de|para)|recept voor|how (?:do i|to) (?:cook|bake)|"
            r"wie (?:koche|backe) ich|comment (?:cuire|cuisiner)|movies?\b|science fiction|video ?games?|"
            r"tv series|best (?:film|series|restaurant|hotel|song|book)s?\b|(?:of all time|aller zeiten|"
            r"de tous les temps|de todos los tiempos|di tutti i tempi|de todos os tempos)|"
            r"recommend (?:me )?(?:a|some) (?:movie|film|book|novel|series|restaurant|song|video game|"
            r"netflix)\w*|empfiehl\w* .{0,20}(?:film|serie|buch|restaurant)|recommande\w* .{0,20}(?:film|"
            r"livre|serie|restaurant)|recomiend\w* .{0,25}(?:pelicula|libro|serie|restaurante)|"
            r"consigli\w* .{0,20}(?:film|libro|serie|ristorante)|netflix|spotify|(?:actor|actress|singer|"
            r"schauspieler\w*|sanger\w*|acteur|chanteur|actor|cantante|attore) (?:in|of|von|de|di|du)\b|"
            r"taylor swift|celebrity|celebrities|things to do in|what to visit in|sehenswurdigkeiten)\b"
        ),
    ),
    (
        "about being an AI",
        re.compile(
            r"\b(?:are you (?:conscious|sentient|self.?aware)|do you (?:have feelings|dream|love)|"
            r"hast du gefuhle|bist du bewusst|as.tu des sentiments|tienes sentimientos|hai sentimenti|"
            r"will ai (?:take over|destroy|replace)|chatgpt|openai|gpt-?\d|(?:favorite|favourite|"
            r"lieblings)(?:\w*) (?:color|colour|movie|food|song|farbe|film|essen))\b"
        ),
    ),
)


def other_topic(*, message: str, plain: str, bot: Bot, policy: Policy, grounding: Grounding | None) -> Hit | None:
    """Why a message is not the bot's business; None where it is, or may be."""
    if policy.rules.off_topic == OffTopic.ALLOWED:
        return None
    asked, plain = stems(message), plain.replace("-", " ")
    own = stems(f"{policy.rules.topics} {bot.role} {bot.name}")
    if task := _matching(TASKS, plain, own):
        return Hit(GuardKind.OFF_TOPIC, task)
    if _is_known(asked, bot, grounding):
        return None
    if subject := _matching(WORLD, plain, own):
        return Hit(GuardKind.OFF_TOPIC, subject)
    is_strict = policy.rules.off_topic == OffTopic.STRICT and grounding is not None
    if is_strict and asked and not asked <= SMALL_TALK and not asked & own:
        return Hit(GuardKind.OFF_TOPIC, "not taught")
    return None


def _matching(patterns: tuple[tuple[str, re.Pattern[str]], ...], plain: str, own: frozenset[str]) -> str:
    """The name of the first that matches by words that are not the bot's own topic."""
    for name, pattern in patterns:
        match = pattern.search(plain)
        if match and not stems(match.group()) & own:
            return name
    return ""


def _is_known(asked: frozenset[str], bot: Bot, grounding: Grounding | None) -> bool:
    """Whether what the bot was taught, or told in its facts, speaks of it."""
    if grounding is not None and grounding.found.is_enough:
        return True
    known = stems(bot.business_description)
    return bool(asked) and len(asked & known) >= FACTS_COVERAGE * len(asked)
