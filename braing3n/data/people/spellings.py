"""How tables spell what they say of people: words that can mean one thing alone."""

# Spellings of "not known", without blanks and marks; -9, -99, -999 and so on besides.
MISSING = {"", "?", "??", "na", "#na", "nan", "none", "null", "#null!", "nil", "unknown", "notknown",
           "missing", "notavailable", "notapplicable", "notreported", "notrecorded", "notdone",
           "pending", "withheld", "<na>", "unbekannt", "keineangabe", "inconnu", "desconocido"}

_SEX_WORDS = {
    "M": "male males man men boy mann männlich homme masculin hombre masculino maschio uomo homem "
         "mand mężczyzna мужской муж 男 男性 남 남성",
    "F": "female females woman women girl frau weiblich femme féminin mujer femenino femmina donna "
         "mulher feminino vrouw kvinna kvinde kobieta женский жен 女 女性 여 여성",
}
SEX = {word: sex for sex, words in _SEX_WORDS.items() for word in words.split()}
# Letters that mean one sex in every language that we know to use them: weiblich, kobieta or kvinna,
# homme or hombre, and Russian. V is vrouw and varón; E, N and Z are too much else.
SEX |= {"m": "M", "f": "F", "w": "F", "k": "F", "h": "M", "м": "M", "ж": "F"}

MODALITY = {"t1w": "T1w", "t1": "T1w", "t1n": "T1w", "t2w": "T2w", "t2": "T2w", "flair": "FLAIR",
            "t2f": "FLAIR", "t1c": "T1c", "t1ce": "T1c", "t1gd": "T1c"}

# Without blanks and marks, in small letters. Only what can mean nothing else:
# "patient", "case" or "dementia" does not say which disease.
_DIAGNOSIS = {
    "HC": ("hc", "control", "controls", "con", "ctrl", "healthy", "healthycontrol",
           "healthycontrols", "healthyvolunteer", "healthyvolunteers", "hv", "normal",
           "normalcontrol", "normalcontrols", "nc", "cn", "cognitivelynormal", "tdc", "td",
           "typicallydeveloping", "typicallydevelopingcontrol", "typicallydevelopingcontrols"),
    "MCI": ("mci", "emci", "lmci", "mildcognitiveimpairment"),
    "AD": ("ad", "alzheimer", "alzheimers", "alzheimerdisease", "alzheimersdisease"),
    "PD": ("pd", "parkinson", "parkinsons", "parkinsondisease", "parkinsonsdisease"),
    "MDD": ("mdd", "depr", "depression", "depressed", "majordepression",
            "majordepressivedisorder"),
    "SCZ": ("scz", "sz", "schz", "schizophrenia"),
    "BP": ("bp", "bipolar", "bipolardisorder"),
    "ASD": ("asd", "autism", "autismspectrumdisorder"),
    "ADHD": ("adhd", "adhdcombined", "adhdinattentive", "adhdhyperactiveimpulsive",
             "attentiondeficithyperactivitydisorder"),
    "glioma": ("glioma", "glioblastoma", "gbm", "hgg", "lgg", "astrocytoma", "oligodendroglioma"),
    "other": ("other",),
}
DIAGNOSIS_OF = {spelling: code for code, spellings in _DIAGNOSIS.items()
                 for spelling in spellings}
